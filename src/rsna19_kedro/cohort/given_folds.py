"""Predefined folds: those of the reference, or of another team.

A table is matched to the slices of this data set by the first available key: the SOPInstanceUID;
a path that ends in ``<study>/<any folder>/<slice number>.<suffix>``, as in the reference's
``5fold.csv`` (docs/reference.md#dataset-files); the study; or the patient.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd

from rsna19_kedro.contracts import CLASSES, FOLDS
from rsna19_kedro.errors import ParameterError, SourceError, counted

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "fold": ("fold", "foldid", "foldnumber", "kfold", "cvfold"),
    "sop_instance_uid": ("sopinstanceuid", "imageid", "sliceid", "image", "slice", "id"),
    "path": ("path", "filepath", "filename", "file"),
    "study_id": ("studyid", "studyinstanceuid", "study"),
    "patient_id": ("patientid", "patient", "pid"),
    **{name: (name,) for name in CLASSES},
}
"""Accepted column names, in lower case and without punctuation."""

KEYS: Final = ("sop_instance_uid", "path", "study_id", "patient_id")
_SHOWN: Final = 5


class GivenFolds(NamedTuple):
    """Predefined folds of a data set.

    Attributes:
        folds: Fold by SOPInstanceUID.
        revised: ``sop_instance_uid`` and six labels of files with ``rev`` in their name; may be
            empty.
        findings: Disagreements with this data set, with counts and examples, see ``compare``.
    """

    folds: "pd.Series[int]"
    revised: pd.DataFrame
    findings: dict[str, Any]


def read_given_folds(
    path: Path, slices: pd.DataFrame, columns: Mapping[str, str], *, accept_leaks: bool
) -> GivenFolds:
    """Read folds and compare them with this data set.

    Args:
        path: A CSV, or a folder: all its CSVs with a fold column are read.
        slices: Labelled slices: keys, ``patient_id`` and six labels.
        columns: Names of columns that are not detected, by the name used here
            (``{"fold": "cv"}``).
        accept_leaks: Whether patients may be in several folds.

    Raises:
        SourceError: The file does not exist, or no CSV has folds.
        ParameterError: Unknown columns, contradicting folds, folds other than 0 to 4 (or 1 to 5),
            no matching key, or patients in several folds.
    """
    tables = {file.name: _renamed(file, columns) for file in _files(path)}
    tables = {name: table for name, table in tables.items() if "fold" in table.columns}
    if not tables:
        raise SourceError(
            f"No CSV in {path} has a fold column. Specify it: --params folds.columns.fold=COLUMN."
        )
    matched = {name: _matched(name, table, slices) for name, table in tables.items()}
    rows = pd.concat([part[["sop_instance_uid", "fold"]] for part, _ in matched.values()])
    rows = rows.drop_duplicates()
    repeated = rows.loc[rows["sop_instance_uid"].duplicated(), "sop_instance_uid"]
    if len(repeated):
        raise ParameterError(
            f"{path} assigns several folds to {counted(repeated.nunique(), 'slice')}, such as "
            f"{repeated.iloc[0]}. Specify one file, or remove the contradicting rows."
        )
    folds = _numbered(rows.set_index("sop_instance_uid")["fold"], path)
    findings = {
        "files": {name: key for name, (_, key) in matched.items()},
        **compare(
            folds, [part for name, (part, _) in matched.items() if not _is_revised(name)], slices
        ),
        "leaks_accepted": accept_leaks,
    }
    leaks = findings["patients_in_several_folds"]
    if leaks["count"] and not accept_leaks:
        raise ParameterError(
            f"{path} puts {counted(leaks['count'], 'patient')} in several folds, such as "
            f"{leaks['examples'][0]}: models would be scored on patients they were trained on. "
            "To compare with results on the same folds, use --params "
            "folds.accept_leaks=true; every report then states it."
        )
    revised = [part for name, (part, _) in matched.items() if _is_revised(name)]
    return GivenFolds(folds, _revised_labels(revised, folds), findings)


def compare(
    folds: "pd.Series[int]", tables: list[pd.DataFrame], slices: pd.DataFrame
) -> dict[str, Any]:
    """Count the disagreements between folds and data set, with examples.

    Args:
        folds: Fold by SOPInstanceUID; may contain slices that are not in ``slices``.
        tables: Matched tables, with labels if available.
        slices: Labelled slices of this data set.

    Returns:
        ``slices_without_file``, ``files_without_fold``, ``labels_differ`` and
        ``patients_in_several_folds``, each with ``count`` and the first ``examples``.
    """
    known = slices.set_index("sop_instance_uid")
    patients = known["patient_id"].reindex(folds.index.intersection(known.index))
    spread = folds.reindex(patients.index).groupby(patients).nunique()
    differ: set[str] = set()
    for table in tables:
        names = [name for name in CLASSES if name in table.columns]
        both = table[table["sop_instance_uid"].isin(known.index)]
        expected = known.loc[both["sop_instance_uid"], names].to_numpy(dtype=float)
        differs = (both[names].to_numpy(dtype=float) != expected).any(axis=1)
        differ |= set(both.loc[differs, "sop_instance_uid"])
    return {
        "slices_without_file": _named(folds.index.difference(known.index)),
        "files_without_fold": _named(known.index.difference(folds.index)),
        "labels_differ": _named(differ),
        "patients_in_several_folds": _named(spread.index[spread > 1]),
    }


def describe(findings: Mapping[str, Any]) -> list[str]:
    """Describe the origin of the folds and disagreements, for log and reports."""
    texts = {
        "slices_without_file": "{} of the fold files not in this data set",
        "files_without_fold": "{} of this data set without a fold: left out",
        "labels_differ": "{} with labels that differ from the label CSV, which is used",
        "patients_in_several_folds": "{} in several folds (accepted for comparison only)",
    }
    lines = [f"Given folds: {', '.join(findings['files'])}"]
    for name, text in texts.items():
        finding = findings[name]
        if finding["count"]:
            noun = "patient" if name.startswith("patients") else "slice"
            count = counted(finding["count"], noun)
            lines.append(f"{text.format(count)}, such as {finding['examples'][0]}")
    return lines


def _is_revised(name: str) -> bool:
    """Return whether a file has labels revised by masks, such as ``5fold-rev3.csv``."""
    return "rev" in name.lower()


def _named(names: Any) -> dict[str, Any]:
    listed = sorted(map(str, names))
    return {"count": len(listed), "examples": listed[:_SHOWN]}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.csv")) if path.is_dir() else []
    if not files:
        raise SourceError(f"folds.given: {path} is neither a CSV nor a folder that contains one.")
    return files


def _renamed(file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rename columns to the names used here, by ``columns`` or by an accepted name."""
    table = pd.read_csv(file, dtype=str)
    short = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in table.columns}
    renames: dict[str, str] = {}
    for name, usual in _NAMES.items():
        given = columns.get(name)
        if given is not None and given not in table.columns:
            raise ParameterError(
                f"folds.columns.{name}: {file.name} has no column {given!r}, only "
                f"{', '.join(table.columns)}."
            )
        known = [short[word] for word in usual if word in short]
        if given or known:
            renames[given or known[0]] = name
    return table[list(renames)].rename(columns=renames)


def _matched(name: str, table: pd.DataFrame, slices: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return one row per slice, matched by the first key that fits this data set, and the key."""
    for key in KEYS:
        if key not in table.columns:
            continue
        rows = _MATCH[key](table, slices)
        if rows["sop_instance_uid"].isin(slices["sop_instance_uid"]).any():
            return rows, key
    keys = ", ".join(key for key in KEYS if key in table.columns) or "none"
    raise ParameterError(
        f"{name} contains no slice, study or patient of this data set (keys: {keys}). Do the "
        f"folds belong to other data? Map keys with folds.columns: {', '.join(KEYS)}."
    )


def _by_uid(table: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    del slices
    uid = table["sop_instance_uid"].str.replace(r"^.*/|\.(dcm|png|npy|jpg)$", "", regex=True)
    return table.assign(sop_instance_uid=uid)


def _by_path(table: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    parts = table["path"].str.extract(r"([^/]+)/[^/]+/0*(\d+)\.\w+$")
    position = parts[0] + "/" + parts[1]
    known = slices["study_id"] + "/" + slices["slice_num"].astype(int).astype(str)
    uid = position.map(pd.Series(slices["sop_instance_uid"].to_numpy(), index=known))
    return table.assign(sop_instance_uid=uid.fillna(table["path"]))


def _by_group(key: str) -> Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]:
    def match(table: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
        # Labels of a study or a patient do not apply to single slices.
        folds = table[[key, "fold"]].drop_duplicates()
        return slices[["sop_instance_uid", key]].merge(folds, on=key)

    return match


_MATCH: Final = {
    "sop_instance_uid": _by_uid,
    "path": _by_path,
    "study_id": _by_group("study_id"),
    "patient_id": _by_group("patient_id"),
}


def _numbered(folds: "pd.Series[str]", path: Path) -> "pd.Series[int]":
    """Convert folds to 0 to 4; folds 1 to 5 are renumbered."""
    numbers = pd.to_numeric(folds, errors="coerce")
    values = set(numbers)
    if values == {fold + 1 for fold in FOLDS}:
        numbers, values = numbers - 1, set(FOLDS)
    if values != set(FOLDS):
        shown = ", ".join(sorted(set(map(str, folds)))[:8])
        raise ParameterError(f"{path}: expected the folds 0 to 4 (or 1 to 5), but found {shown}.")
    return numbers.astype(int)


def _revised_labels(tables: list[pd.DataFrame], folds: "pd.Series[int]") -> pd.DataFrame:
    names = ["sop_instance_uid", *CLASSES]
    whole = [table[names] for table in tables if set(names) <= set(table.columns)]
    if not whole:
        return pd.DataFrame(columns=names)
    labels = pd.concat(whole).drop_duplicates("sop_instance_uid", ignore_index=True)
    numbers = labels[list(CLASSES)].astype(float).astype("uint8")
    return pd.concat([labels[["sop_instance_uid"]], numbers], axis=1)
