"""Names that every room shares: classes, keys and table columns, in their fixed order."""

from typing import Final

CLASSES: Final = (
    "epidural",
    "intraparenchymal",
    "intraventricular",
    "subarachnoid",
    "subdural",
    "any",
)
"""The six outputs, always in this order; ``any`` is the maximum of the five types."""

CLASS_WEIGHTS: Final = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)
"""Weights of the competition's log loss (their sum is 7)."""

KEYS: Final = ("sop_instance_uid", "study_id", "slice_num")
"""What identifies a slice in every table."""

POSITION: Final = ["position_x", "position_y", "position_z"]
"""ImagePositionPatient in mm, columns of ``slice_index``."""

ORIENTATION: Final = [f"orientation_{i}" for i in range(6)]
"""ImageOrientationPatient, columns of ``slice_index``."""

PREDICTIONS: Final = tuple(f"pred_{name}" for name in CLASSES)
"""Probability columns of the prediction tables, float32 in 0..1."""

AREAS: Final = tuple(f"area_{name}" for name in (*CLASSES[:5], "unclassified", "any"))
"""Columns that models with predicted masks add: a mask's share of the input, float32 in 0..1."""

PHANTOM_MARKER: Final = "phantoms.json"
"""File that marks a folder of raw data as finished phantoms; written last."""

N_FOLDS: Final = 5
FOLDS: Final = tuple(range(N_FOLDS))

AIR_HU: Final = -1000
"""What stands beyond either end of a volume."""

PADDING_HU: Final = -2000
"""What a crop or an alignment fills in where there was no measurement."""
