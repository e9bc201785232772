"""Kaggle's submission format, and a check against the sample submission."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Floats
from rsna19_kedro.errors import counted

logger = logging.getLogger(__name__)

SAMPLE: Final = "stage_2_sample_submission.csv"


def submission_table(slices: pd.DataFrame, predictions: Floats, eps: float) -> pd.DataFrame:
    """Convert predictions to Kaggle's format (docs/reference.md#second-level).

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

    Differences are logged as warnings and never stop the run: a submission for part of the
    test set is valid output, too.

    Args:
        submission: Columns ``ID`` and ``Label``.
        raw_folder: Folder of the download.

    Returns:
        One sentence per difference; empty if the IDs are equal or there is no sample
        submission.
    """
    sample = _find_sample(raw_folder)
    if sample is None:
        logger.info("No %s in the download: the IDs of the submission were not checked.", SAMPLE)
        return []
    wanted = set(pd.read_csv(sample, usecols=["ID"], dtype={"ID": "str"})["ID"])
    given = set(submission["ID"])
    findings = [
        f"{counted(len(ids), 'ID')} {difference} {sorted(ids)[:3]}. Kaggle refuses such a file."
        for ids, difference in (
            (wanted - given, f"of {sample.name} missing from the submission, first"),
            (given - wanted, f"of the submission not in {sample.name}, first"),
        )
        if ids
    ]
    for finding in findings:
        logger.warning(finding)
    if not findings:
        logger.info("The %d IDs of the submission are those of %s", len(given), sample.name)
    return findings


def _find_sample(raw_folder: Path) -> Path | None:
    """Find the sample submission in the folder or one level below."""
    candidates = [raw_folder / SAMPLE, *sorted(raw_folder.glob(f"*/{SAMPLE}"))]
    return next((path for path in candidates if path.is_file()), None)
