"""What lies in a raw data folder: today's download, that of 2019, or the user's own data."""

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


@dataclass(frozen=True)
class Download:
    """Where the files of a download are.

    Attributes:
        raw_dir: Folder that the paths of the slice index are relative to.
        layout: ``today`` (stage_2_train and stage_2_test), ``2019`` (stage_1_train,
            stage_1_test, stage_2_test) or ``own``.
        folders: Subset and folder, one pair a folder, each searched with its subfolders.
        label_csv: CSV with the labels; None when there is none.
        stage_1_csv: In today's layout a ``stage_1_train.csv`` that lies there too: it says
            which slices were stage-1 train; the rest of ``stage_2_train`` is ``test``.
        looked_for: Label CSVs that were looked for, for error messages.
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
        """Whether a labelled folder holds phantoms: their marker file is in it or beside it."""
        labelled = [folder for subset, folder in self.folders if subset != "test2"]
        places = (place for folder in labelled for place in (folder, folder.parent))
        return any((place / PHANTOM_MARKER).is_file() for place in places)


def find_download(raw_dir: Path) -> Download:
    """Tell the layout of Kaggle's download from what is there.

    Stage folders may have the ending ``_images``, may lie up to two folders below
    ``raw_dir`` and may be nested once more in themselves.

    Raises:
        SourceError: No such folder, an empty one, or none of the known stage folders.
    """
    _check_folder(raw_dir)
    found: dict[str, list[Path]] = {}
    for folder in _stage_folders(raw_dir, _DEPTH):
        found.setdefault(_STAGES[folder.name], []).append(folder)
    today = "stage_2_train" in found
    if not today and "stage_1_train" not in found:
        there = sorted(f"{p.name}/" if p.is_dir() else p.name for p in raw_dir.iterdir())
        listed = ", ".join(there[:_LISTED]) + (
            f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
        )
        raise SourceError(
            f"{raw_dir} is in no layout that is known. It holds {listed}. Looked for, up "
            f"to {_DEPTH} folders deep: stage_2_train/ (today's download) or stage_1_train/ (that "
            "of 2019), with or without '_images' at the end. For other data name its folders "
            "in the parameters under ingestion: own_data."
        )
    subsets = _TODAY if today else _OF_2019
    folders = [(subset, path) for stage, subset in subsets.items() for path in found.get(stage, ())]
    ignored = [path for stage, paths in found.items() if stage not in subsets for path in paths]
    places = list(dict.fromkeys([*(path.parent for _, path in folders), raw_dir]))
    looked_for = [[place / name for place in places] for name in LABEL_CSVS]
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
    """Take folders of DICOM that the user names instead of Kaggle's layout.

    Args:
        raw_dir: Folder that relative names start from.
        folders: Folders by subset; they are searched with all subfolders.
        labels_csv: CSV with labels, ``ID,Label`` or one row a slice.

    Raises:
        SourceError: A folder is missing or empty.
        ParameterError: No folder is named, or the CSV does not exist.
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
            f"A relative name starts from {raw_dir}."
        )
    return Download(raw_dir, "own", tuple(pairs), csv, looked_for=(csv,) if csv else ())


def list_files(download: Download) -> dict[str, list[str]]:
    """Every file of a download by subset, sorted.

    Hidden files are left out. Paths are relative to ``raw_dir`` with ``/`` between folders;
    own data elsewhere keep their absolute path.

    Raises:
        SourceError: A folder without any file.
    """
    files: dict[str, list[str]] = {}
    for subset, folder in download.folders:
        names = sorted(walk_files(folder))
        if not names:
            raise SourceError(
                f"{folder} holds no file, but DICOM files of the subset {subset!r} are expected "
                "there. Is the download unpacked?"
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
            f"{folder} is a file, but a folder of DICOM files is expected: unpack it."
        )
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        raise SourceError(f"The folder {folder} is empty, but DICOM files are expected in it.")


def _stage_folders(folder: Path, depth: int) -> Iterator[Path]:
    # Stage folders are not entered, so their hundreds of thousands of files are never listed.
    for path in sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()):
        if path.name in _STAGES:
            yield path
        elif depth > 0 and not path.name.startswith("."):
            yield from _stage_folders(path, depth - 1)


def _relative(name: str, raw_dir: Path) -> str:
    base = os.path.join(os.fspath(raw_dir), "")
    return (name[len(base) :] if name.startswith(base) else name).replace(os.sep, "/")
