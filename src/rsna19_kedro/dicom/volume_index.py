"""The manifest of the prepared volumes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rsna19_kedro.provenance.declare import Checksums


def volume_table(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Turn records into ``volume_index``.

    Args:
        records: Values of ``VolumeRecord``, one per study.

    Returns:
        One row per study, sorted by ``study_id``, with the number of repaired slices as
        ``repaired_slices`` before the list of them.
    """
    table = pd.DataFrame(list(records)).sort_values("study_id", ignore_index=True)
    position = table.columns.get_loc("repaired")
    table.insert(int(position), "repaired_slices", table["repaired"].map(len).astype("int64"))
    return table


def identical_slices(volume_index: pd.DataFrame) -> pd.DataFrame:
    """Find slices whose pixels are equal to those of another slice.

    Args:
        volume_index: Manifest of the volumes.

    Returns:
        ``slice_checksum``, ``study_id``, ``slice_num``; at least two rows per checksum.
    """
    lists = volume_index["slice_checksums"].map(list)
    rows = volume_index[["study_id"]].assign(slice_checksum=lists).explode("slice_checksum")
    rows["slice_num"] = rows.groupby("study_id").cumcount()
    rows = rows[rows["slice_checksum"].fillna("") != ""]
    repeated = rows[rows["slice_checksum"].duplicated(keep=False)]
    order = ["slice_checksum", "study_id", "slice_num"]
    return repeated[order].sort_values(order, ignore_index=True)


def training_studies(volume_index: pd.DataFrame, slice_index: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``volume_index`` of the subset train, sorted by ``study_id``."""
    train = slice_index.loc[slice_index["subset"] == "train", "study_id"].unique()
    chosen = volume_index[volume_index["study_id"].isin(train)]
    return chosen.sort_values("study_id", ignore_index=True)


def study_checksums(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> Checksums:
    """Return the digests of each study's files at the time its volume was prepared."""
    if "files_sha256" not in volume_index:
        return {}
    known = volume_index.set_index("study_id")["files_sha256"].dropna()
    known = known[known != ""]
    is_known = slice_index["study_id"].isin(known.index)
    numbered = slice_index[slice_index["slice_num"].notna() & is_known]
    checksums: dict[str, tuple[tuple[str, ...], str]] = {}
    for study_id, rows in numbered.sort_values("slice_num").groupby("study_id"):
        group = tuple(dict.fromkeys(rows["path"]))
        checksums |= {name: (group, str(known[study_id])) for name in group}
    return checksums
