"""Contents of a raw data folder: Kaggle's current download, that of 2019, or other data."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from rsna19_kedro.contracts import PHANTOM_MARKER
from rsna19_kedro.errors import ParameterError, SourceError
from rsna19_kedro.files import walk_files

LABEL_CSVS: Final = ("stage_2_train.csv", "stage_1_train.csv")
"""Kaggle's label files, the more complete one first (docs/reference.md#data)."""

_DEPTH: Final = 2
_LISTED: Final = 10
_STAGES: Final = {
    name + ending: name
    for name in ("stage_1_train", "stage_1_test", "stage_2_train", "stage_2_test")
    for ending in ("", "_images")
}
_TODAY: Final = {"stage_2_train": "train", "stage_2_test": "test2"}
_OF_2019: Final = {"stage_1_train": "train", "stage_1_test": "test", "stage_2_test": "test2"}

Layout = Literal["today", "2019", "own"]

LAYOUTS: Final[Mapping[Layout, str]] = {
    "today": "current Kaggle download (stage_2_train, stage_2_test)",
    "2019": "Kaggle download of 2019 (stage_1_train, stage_1_test, stage_2_test)",
    "own": "own data (parameters, ingestion: own_data)",
}


@dataclass(frozen=True)
class Download:
    """Locations of the files of a download.

    Attributes:
        raw_dir: Folder that the paths of the slice index are relative to.
        layout: ``today`` (stage_2_train and stage_2_test), ``2019`` (stage_1_train,
            stage_1_test, stage_2_test) or ``own``.
        folders: Pairs of subset and folder; folders are searched with their subfolders.
        label_csv: CSV with the labels, if any.
        stage_1_csv: In the layout ``today``, ``stage_1_train.csv`` if present: it lists the
            slices of stage-1 train; the rest of ``stage_2_train`` is ``test``.
        looked_for: Candidate paths of label CSVs, for error messages.
        ignored: Stage folders that do not belong to this layout.
    """

    raw_dir: Path
    layout: Layout
    folders: tuple[tuple[str, Path], ...]
    label_csv: Path | None
    stage_1_csv: Path | None = None
    looked_for: tuple[Path, ...] = ()
    ignored: tuple[Path, ...] = field(default=())

    @property
    def is_synthetic(self) -> bool:
        """Whether a labelled folder or its parent contains the marker file of phantoms."""
        labelled = [folder for subset, folder in self.folders if subset != "test2"]
        marked = (parent for folder in labelled for parent in (folder, folder.parent))
        return any((parent / PHANTOM_MARKER).is_file() for parent in marked)


def find_download(raw_dir: Path) -> Download:
    """Detect the layout of Kaggle's download.

    Stage folders may have the suffix ``_images``, may be up to two folders below ``raw_dir``
    and may be nested once in a folder of the same name.

    Raises:
        SourceError: The folder does not exist, is empty, or contains no known stage folder.
    """
    _check_folder(raw_dir)
    stages: dict[str, list[Path]] = {}
    for folder in _stage_folders(raw_dir, _DEPTH):
        stages.setdefault(_STAGES[folder.name], []).append(folder)
    today = "stage_2_train" in stages
    if not today and "stage_1_train" not in stages:
        names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in raw_dir.iterdir())
        listed = ", ".join(names[:_LISTED]) + (
            f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        )
        raise SourceError(
            f"The layout of {raw_dir} is unknown. It contains {listed}. Expected, up to {_DEPTH} "
            "folders deep: stage_2_train/ (Kaggle's current download) or stage_1_train/ (that of "
            "2019), with or without the suffix '_images'. For other data, list the folders in "
            "the parameters under ingestion: own_data."
        )
    subsets = _TODAY if today else _OF_2019
    folders = [
        (subset, path) for stage, subset in subsets.items() for path in stages.get(stage, ())
    ]
    ignored = [path for stage, paths in stages.items() if stage not in subsets for path in paths]
    parents = list(dict.fromkeys([*(path.parent for _, path in folders), raw_dir]))
    looked_for = [[parent / name for parent in parents] for name in LABEL_CSVS]
    csvs = [next((path for path in paths if path.is_file()), None) for paths in looked_for]
    return Download(
        raw_dir=raw_dir,
        layout="today" if today else "2019",
        folders=tuple(folders),
        label_csv=next((path for path in csvs if path is not None), None),
        stage_1_csv=csvs[1] if today else None,
        looked_for=tuple(path for paths in looked_for for path in paths),
        ignored=tuple(ignored),
    )


def own_download(
    raw_dir: Path, folders: Mapping[str, Iterable[str]], labels_csv: str | None
) -> Download:
    """Describe user-specified folders of DICOM instead of Kaggle's layout.

    Args:
        raw_dir: Folder that relative paths start from.
        folders: Folders by subset; they are searched with all subfolders.
        labels_csv: CSV with labels, ``ID,Label`` or one row per slice.

    Raises:
        SourceError: A folder is missing or empty.
        ParameterError: No folder is specified, or the CSV does not exist.
    """
    pairs = [(subset, raw_dir / name) for subset, names in folders.items() for name in names]
    if not pairs:
        raise ParameterError("ingestion: own_data names no folder under train, test or test2.")
    for _, folder in pairs:
        _check_folder(folder)
    csv = raw_dir / labels_csv if labels_csv else None
    if csv is not None and not csv.is_file():
        raise ParameterError(
            f"The label CSV {csv} (ingestion: own_data: labels_csv) does not exist. "
            f"Relative paths start from {raw_dir}."
        )
    return Download(raw_dir, "own", tuple(pairs), csv, looked_for=(csv,) if csv else ())


def list_files(download: Download) -> dict[str, list[str]]:
    """List the files of a download by subset, sorted.

    Hidden files are left out. Paths are relative to ``raw_dir`` with ``/`` between folders;
    files outside ``raw_dir`` keep their absolute paths.

    Raises:
        SourceError: A folder contains no files.
    """
    files: dict[str, list[str]] = {}
    for subset, folder in download.folders:
        names = sorted(walk_files(folder))
        if not names:
            raise SourceError(
                f"{folder} contains no files; expected DICOM files of the subset {subset!r}. "
                "Is the download unpacked?"
            )
        files.setdefault(subset, []).extend(_relative(name, download.raw_dir) for name in names)
    return {subset: sorted(set(names)) for subset, names in files.items()}


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise SourceError(
            f"The folder {folder} does not exist. Set raw_dir (in conf/local/globals.yml or with "
            "--params raw_dir=PATH) to the folder of the unpacked download."
        )
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is a file; expected a folder of DICOM files. If it is an archive, unpack it."
        )
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        raise SourceError(f"The folder {folder} is empty; expected DICOM files.")


def _stage_folders(folder: Path, depth: int) -> Iterator[Path]:
    # Stage folders are not entered, so that hundreds of thousands of files are not listed.
    for path in sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()):
        if path.name in _STAGES:
            yield path
        elif depth > 0 and not path.name.startswith("."):
            yield from _stage_folders(path, depth - 1)


def _relative(name: str, raw_dir: Path) -> str:
    base = os.path.join(os.fspath(raw_dir), "")
    return (name[len(base) :] if name.startswith(base) else name).replace(os.sep, "/")
