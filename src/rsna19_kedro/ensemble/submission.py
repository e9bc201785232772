"""Kaggle's submission format, and a check against the competition's sample file."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Floats

logger = logging.getLogger(__name__)

SAMPLE: Final = "stage_2_sample_submission.csv"


def submission_table(slices: pd.DataFrame, predictions: Floats, eps: float) -> pd.DataFrame:
    """Predictions as Kaggle takes them (docs/reference.md#second-level).

    Args:
        slices: ``sop_instance_uid`` of N slices.
        predictions: ``(N, 6)`` probabilities.
        eps: Predictions are clipped to ``[eps, 1 - eps]``.

    Returns:
        ``6 N`` rows ``ID`` (``<SOPInstanceUID>_<class>``) and ``Label``, sorted by ID.
    """
    uids = slices["sop_instance_uid"].astype(str).to_numpy(dtype=object)
    names = [f"{uid}_{name}" for uid in uids for name in CLASSES]
    values = np.clip(np.asarray(predictions, dtype=np.float64), eps, 1.0 - eps).reshape(-1)
    table = pd.DataFrame({"ID": pd.Series(names, dtype="str"), "Label": values})
    return table.sort_values("ID", ignore_index=True)


def check_submission(submission: pd.DataFrame, raw_folder: Path) -> list[str]:
    """Compare a submission's IDs with the download's sample submission, if it has one.

    What differs is logged as a warning and never stops the run: someone who predicts a part
    of the test set wants that part's file, and hours of work should not end without one.

    Args:
        submission: Columns ``ID`` and ``Label``.
        raw_folder: Folder of the download.

    Returns:
        What was found, a sentence each; empty when the IDs are the same or there is no
        sample submission.
    """
    sample = _find_sample(raw_folder)
    if sample is None:
        logger.info("No %s in the download: the submission's IDs were not compared.", SAMPLE)
        return []
    wanted = set(pd.read_csv(sample, usecols=["ID"], dtype={"ID": "str"})["ID"])
    given = set(submission["ID"])
    findings = [
        f"The submission has {len(ids)} IDs {what} {sample.name}, first {sorted(ids)[:3]}: {then}."
        for ids, what, then in (
            (wanted - given, "fewer than", "Kaggle refuses it unless they are added"),
            (given - wanted, "that are not in", "Kaggle refuses it unless they are removed"),
        )
        if ids
    ]
    for finding in findings:
        logger.warning(finding)
    if not findings:
        logger.info("The submission has exactly the %d IDs of %s.", len(given), sample.name)
    return findings


def _find_sample(raw_folder: Path) -> Path | None:
    """In the folder itself or one below; deeper there are only slices, a million of them."""
    found = [raw_folder / SAMPLE, *sorted(raw_folder.glob(f"*/{SAMPLE}"))]
    return next((path for path in found if path.is_file()), None)
