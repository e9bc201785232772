"""The manifest of the prepared volumes, and what the log says about them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rsna19_kedro.ct.study_volume import ALIGNED
from rsna19_kedro.dicom.studies import Outcome

logger = logging.getLogger(__name__)

_NAMED = 5


def volume_table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Turn records into ``volume_index``.

    Args:
        records: Values of ``VolumeRecord``, one a study.

    Returns:
        One row a study, by ``study_id``, with the number of repaired slices as
        ``repaired_slices`` beside the list of them.
    """
    table = pd.DataFrame(list(records)).sort_values("study_id", ignore_index=True)
    place = table.columns.get_loc("repaired")
    table.insert(int(place), "repaired_slices", table["repaired"].map(len).astype("int64"))
    return table


def identical_slices(volume_index: pd.DataFrame) -> pd.DataFrame:
    """Slices whose pixels are equal to those of another slice.

    Args:
        volume_index: Manifest of the volumes.

    Returns:
        ``slice_checksum``, ``study_id``, ``slice_num``; by checksum, at least two rows each.
    """
    lists = volume_index["slice_checksums"].map(list)
    rows = volume_index[["study_id"]].assign(slice_checksum=lists).explode("slice_checksum")
    rows["slice_num"] = rows.groupby("study_id").cumcount()
    rows = rows[rows["slice_checksum"].fillna("") != ""]
    again = rows[rows["slice_checksum"].duplicated(keep=False)]
    order = ["slice_checksum", "study_id", "slice_num"]
    return again[order].sort_values(order, ignore_index=True)


def log_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Say what was prepared, what was reused, what was repaired and what was left out."""
    done = [outcome.record for outcome in outcomes if outcome.record is not None]
    reused = sum(outcome.reused for outcome in outcomes)
    logger.info("%d volumes: %d prepared, %d reused", len(done), len(done) - reused, reused)
    plain = [record for record in done if record["alignment"] != ALIGNED]
    repaired = [record for record in done if record["repaired"]]
    lost = [outcome for outcome in outcomes if outcome.record is None]
    for record in plain[:_NAMED]:
        logger.warning("Study %s is not aligned: %s", record["study_id"], record["alignment"])
    for record in repaired[:_NAMED]:
        logger.warning(
            "Study %s: slices %s show their neighbour. %s",
            *(record["study_id"], record["repaired"], record["repairs"][0]),
        )
    for outcome in lost:  # the manifest does not name them, so the log names all
        logger.error("Study %s is left out: %s", outcome.study_id, outcome.problem)
    for found, what in ((plain, "not aligned"), (repaired, "repaired")):
        if len(found) > _NAMED:
            logger.warning("%d studies in all are %s; volume_index lists them", len(found), what)
