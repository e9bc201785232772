"""Names shared by all packages: classes, keys and table columns, in their fixed order."""

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
"""Class weights of the competition's log loss (sum 7)."""

KEYS: Final = ("sop_instance_uid", "study_id", "slice_num")
"""Columns that identify a slice in every table."""

POSITION: Final = ["position_x", "position_y", "position_z"]
"""Columns of ``slice_index`` with ImagePositionPatient in mm."""

ORIENTATION: Final = [f"orientation_{i}" for i in range(6)]
"""Columns of ``slice_index`` with ImageOrientationPatient."""

PREDICTIONS: Final = tuple(f"pred_{name}" for name in CLASSES)
"""Probability columns of the prediction tables, float32 in 0..1."""

AREAS: Final = tuple(f"area_{name}" for name in (*CLASSES[:5], "unclassified", "any"))
"""Additional columns of models that predict masks: mask area / input area, float32 in 0..1."""

PHANTOM_MARKER: Final = "phantoms.json"
"""Marker file in a raw data folder with complete phantoms; written last."""

N_FOLDS: Final = 5
FOLDS: Final = tuple(range(N_FOLDS))

AIR_HU: Final = -1000
"""Value of slices outside a volume."""

PADDING_HU: Final = -2000
"""Value of pixels outside the measured area, after a crop or an alignment."""
