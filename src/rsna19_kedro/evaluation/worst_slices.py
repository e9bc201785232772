"""Error analysis: the slices and studies with the largest errors, and their pictures."""

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from rsna19_kedro.contracts import CLASS_WEIGHTS, CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ct.previews import window_grey
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.evaluation.metrics import slice_log_losses

HIGHEST_LOSS = "highest loss"
MISSED = "missed"
FALSE_ALARM = "false alarm"
"""Groups of worst slices: false negatives and positives of any, and loss over all classes."""

ERROR_BANDS = (0.5, 0.7, 0.9, 0.99, 1.0)
"""Bin edges for errors of ``any``, by distance between probability and label."""


def with_losses(predictions: pd.DataFrame) -> pd.DataFrame:
    """Add each slice's weighted log loss.

    Args:
        predictions: Keys, six labels and six ``pred_*`` columns, one row per slice.

    Returns:
        The table with ``loss``; its mean over slices is the competition's score.
    """
    losses = slice_log_losses(predictions[list(CLASSES)], predictions[list(PREDICTIONS)])
    return predictions.assign(loss=losses @ np.asarray(CLASS_WEIGHTS) / sum(CLASS_WEIGHTS))


def find_worst_slices(predictions: pd.DataFrame, per_group: int) -> pd.DataFrame:
    """Pick the worst slices, at most one per study in each group.

    Args:
        predictions: Keys, six labels and six ``pred_*`` columns, one row per slice.
        per_group: Slices per group.

    Returns:
        ``group``, ``rank`` (from 1), keys, ``loss``, labels and ``pred_*``. Missed slices
        show a haemorrhage and have a probability of ``any`` below 0.5, lowest first; false
        alarms show none and have 0.5 or more, highest first. Slices of highest loss are
        taken from those in neither group, so that they include errors of the types. A group
        can be short or empty.
    """
    scored = with_losses(predictions)
    positive = scored["any"] == 1
    called = scored["pred_any"] >= 0.5
    ordered = {
        MISSED: scored[positive & ~called].sort_values("pred_any", kind="stable"),
        FALSE_ALARM: scored[~positive & called].sort_values(
            "pred_any", ascending=False, kind="stable"
        ),
        HIGHEST_LOSS: scored.sort_values("loss", ascending=False, kind="stable"),
    }
    parts: list[pd.DataFrame] = []
    for group, rows in ordered.items():
        shown = [uid for part in parts for uid in part["sop_instance_uid"]]
        fresh = rows[~rows["sop_instance_uid"].isin(shown)]
        picked = fresh.drop_duplicates("study_id").head(per_group)
        parts.append(picked.assign(group=group, rank=range(1, len(picked) + 1)))
    columns = ["group", "rank", *KEYS, "loss", *CLASSES, *PREDICTIONS]
    return pd.concat(parts, ignore_index=True)[columns]


def worst_studies(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rank studies by the mean loss of their slices.

    Args:
        predictions: Keys, six labels and six ``pred_*`` columns, one row per slice.
        count: Studies to list.

    Returns:
        ``study_id``, ``slices``, ``loss`` (mean), ``positive_slices`` (labelled ``any``) and
        ``called_slices`` (``pred_any`` of 0.5 or more), highest loss first.
    """
    scored = with_losses(predictions).assign(called=predictions["pred_any"] >= 0.5)
    table = scored.groupby("study_id").agg(
        slices=("loss", "size"),
        loss=("loss", "mean"),
        positive_slices=("any", "sum"),
        called_slices=("called", "sum"),
    )
    return table.sort_values("loss", ascending=False, kind="stable").head(count).reset_index()


def studies_by_class(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """List the positive studies of each class with the highest and the lowest loss.

    Args:
        predictions: Keys, six labels and six ``pred_*`` columns, one row per slice.
        count: Studies per class and end.

    Returns:
        ``class``, ``end`` (``highest`` or ``lowest``), ``study_id``, ``loss`` (of that
        class, mean over slices), ``positive_slices``; a class that never occurs has no rows.
    """
    losses = slice_log_losses(predictions[list(CLASSES)], predictions[list(PREDICTIONS)])
    parts = []
    for column, name in enumerate(CLASSES):
        of_class = predictions.assign(loss=losses[:, column]).groupby("study_id")
        table = of_class.agg(loss=("loss", "mean"), positive_slices=(name, "sum")).reset_index()
        table = table[table["positive_slices"] > 0].sort_values("loss", kind="stable")
        ends = {"highest": table[::-1].head(count), "lowest": table.head(count)}
        for end, rows in ends.items():
            parts.append(rows.assign(**{"class": name, "end": end}))
    columns = ["class", "end", "study_id", "loss", "positive_slices"]
    return pd.concat(parts, ignore_index=True)[columns]


def error_bands(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count false negatives and false positives of ``any`` by size of the error.

    Args:
        predictions: ``any`` and ``pred_any``, one row per slice.

    Returns:
        One row per band: ``low``, ``high`` (distance between probability and label),
        ``missed``, ``false_alarms``. A distance of exactly 0.5 is a false positive, because
        0.5 counts as positive.
    """
    positive = (predictions["any"] == 1).to_numpy()
    called = (predictions["pred_any"] >= 0.5).to_numpy()
    distance = np.abs(predictions["pred_any"].to_numpy(float) - positive)
    bands = len(ERROR_BANDS) - 1
    band = np.clip(np.searchsorted(ERROR_BANDS, distance, side="right") - 1, 0, bands - 1)
    return pd.DataFrame(
        {
            "low": ERROR_BANDS[:-1],
            "high": ERROR_BANDS[1:],
            "missed": np.bincount(band[positive & ~called], minlength=bands),
            "false_alarms": np.bincount(band[~positive & called], minlength=bands),
        }
    )


def picture_slice(hu: NDArray[np.int16], windows: Mapping[str, tuple[float, float]]) -> bytes:
    """Draw one slice in several windows side by side.

    Args:
        hu: One slice, ``(H, W)`` in HU.
        windows: Name to (centre, width) in HU.

    Returns:
        A greyscale JPEG of height ``H``, width ``W`` per window, with a thin gap between windows.
    """
    gap = np.full((hu.shape[0], 4), 255, dtype=np.uint8)
    panels: list[NDArray[np.uint8]] = []
    for centre, width in windows.values():
        panels += [window_grey(hu, centre, width), gap]
    buffer = io.BytesIO()
    Image.fromarray(np.hstack(panels[:-1])).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def picture_slices(
    slices: pd.DataFrame, volumes: VolumeStore, windows: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Draw every slice of a table.

    Args:
        slices: ``study_id`` and ``slice_num``; a slice may be listed more than once.
        volumes: Store of the prepared volumes.
        windows: Name to (centre, width) in HU.

    Returns:
        ``study_id``, ``slice_num``, ``picture`` (JPEG bytes), one row per distinct slice.
    """
    wanted = slices[["study_id", "slice_num"]].drop_duplicates().reset_index(drop=True)
    pictures = [
        picture_slice(volumes.read(study, int(number), int(number) + 1)[0], windows)
        for study, number in wanted.itertuples(index=False)
    ]
    return wanted.assign(picture=pd.Series(pictures, dtype=object))
