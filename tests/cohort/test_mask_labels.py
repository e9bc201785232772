"""Slice labels derived from segmentation masks."""

import numpy as np

from rsna19_kedro.cohort.mask_labels import labels_of_mask
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.masks import StudyMask


def test_a_class_needs_four_voxels_and_any_is_the_maximum() -> None:
    first = np.zeros((6, 6), dtype=np.uint8)
    first[0, :4] = 1
    first[1, :3] = 5
    third = np.zeros((6, 6), dtype=np.uint8)
    third[0, :4] = 6
    table = labels_of_mask(StudyMask([first, None, third], 0), ["a", "b", "c"], min_voxels=4)
    assert table["sop_instance_uid"].tolist() == ["a", "c"]
    assert table[list(CLASSES)].to_numpy().tolist() == [[1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
    assert table["unclassified"].tolist() == [False, True]
    empty = labels_of_mask(StudyMask([], 0), [], 4)
    assert empty.empty
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()
