"""Files of the public detector: checked, read, and downloaded by name."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import ModelError, ParameterError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

NAME: Final = "ct-head-hemorrhage"
"""Name of the detector in parameters."""

REPOSITORY: Final = "ianpan/ct-head-hemorrhage-detection"
"""Its repository on the Hugging Face hub."""

ABOUT: Final = (
    f"{REPOSITORY} by Ian Pan, MIT licence, trained on 661,118 slices of 16,910 patients of the "
    "RSNA challenge. Slice AUC of any by its authors: 0.983 on 989 other patients, which had been "
    "used once for an earlier model. Not calibrated. Research only"
)
"""What its authors publish about it."""

RANDOM: Final = f"Random weights, no meaning: {REPOSITORY}"
"""At most 64 characters, so that it fits into the description of a DICOM series."""

DOWNLOADS: Final = Path("data/06_models/detectors")
"""Folder of the downloaded detectors in a project."""

CONFIG: Final = "config.json"
CHECKSUMS: Final = "checksums.json"
CLASSIFIER: Final = "classifier/model.safetensors"
SEQUENCE: Final = "sequence/model.safetensors"
_NEEDED: Final = (CONFIG, CHECKSUMS, CLASSIFIER, SEQUENCE)
_MODEL_TYPE: Final = "ct_head_hemorrhage_detection"
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_PICKLES: Final = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Release:
    """A checked folder with the files of the detector.

    Attributes:
        folder: Holds ``config.json``, ``checksums.json`` and the weights.
        digest: SHA-256 of both files of weights, as hexadecimal text.
        random: Whether ``config.json`` says that the weights are random.
    """

    folder: Path
    digest: str
    random: bool

    @property
    def version(self) -> str:
        """First digits of the digest, or ``random``."""
        return "random" if self.random else self.digest[:8]

    @property
    def title(self) -> str:
        """Repository and version."""
        return f"{REPOSITORY}, weights {self.version}"

    @property
    def about(self) -> str:
        """What is known about these weights."""
        return RANDOM if self.random else ABOUT

    def facts(self) -> dict[str, str]:
        """``name``, ``version`` and ``about``, for results."""
        return {"name": REPOSITORY, "version": self.version, "about": self.about}

    def tensors(self, name: str) -> "dict[str, Tensor]":
        """Read one file of weights.

        Raises:
            ModelError: The file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.folder / name)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self.folder / name} cannot be read as safetensors ({error}). Download it again."
            ) from error


def open_release(folder: Path) -> Release:
    """Check the files of the detector in a folder.

    Every file that ``checksums.json`` lists and that exists must have its size and SHA-256; the
    weights must be listed.

    Raises:
        ModelError: The folder or a file is missing, or a file differs; the message says which.
    """
    if not folder.is_dir():
        raise ModelError(
            f"The detector's folder {folder} does not exist. Use the folder with its {CONFIG}, or "
            f"detector={NAME} to download it."
        )
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        pickled = sorted(
            path.relative_to(folder).as_posix()
            for path in (*folder.glob("*"), *folder.glob("*/*"))
            if path.suffix in _PICKLES
        )
        also = f" {pickled[0]} is not read: only safetensors files are." if pickled else ""
        raise ModelError(
            f"{folder} is not a release of the detector: {', '.join(missing)} missing.{also}"
        )
    config = _read_json(folder / CONFIG)
    if not isinstance(config, Mapping) or config.get("model_type") != _MODEL_TYPE:
        raise ModelError(f"{folder / CONFIG} does not describe a model of type {_MODEL_TYPE}.")
    if tuple(config.get("labels", ())) != CLASSES:
        raise ModelError(
            f"{folder / CONFIG} lists other labels than {', '.join(CLASSES)}, in this order."
        )
    digests = _check_files(folder)
    both = hashlib.sha256((digests[CLASSIFIER] + digests[SEQUENCE]).encode()).hexdigest()
    return Release(folder, both, config.get("weights") == "random")


def find_release(detector: str, revision: str | None, downloads: Path = DOWNLOADS) -> Release:
    """Return the detector of a folder, or of a name, which is downloaded once.

    Args:
        detector: Path of a folder, or ``NAME``.
        revision: Commit of the hub's repository; required for ``NAME``.
        downloads: Folder of the downloads.

    Raises:
        ParameterError: The revision is missing, or given for a folder.
        ModelError: See ``open_release``; or the download failed.
    """
    if detector != NAME:
        if revision is not None:
            raise ParameterError(f"detector_revision is only used with detector={NAME}.")
        folder = Path(detector).expanduser()
        hint = "" if folder.exists() else did_you_mean(detector, [NAME])
        if hint:
            raise ParameterError(f"Unknown detector {detector!r}.{hint}")
        return open_release(folder)
    if revision is None:
        raise ParameterError(
            f"detector={NAME} needs detector_revision=COMMIT, a commit of "
            f"https://huggingface.co/{REPOSITORY}/commits/main: no version of it has been "
            "verified here, so none is chosen for you."
        )
    if not _COMMIT.fullmatch(revision):
        raise ParameterError(
            f"detector_revision={revision} is not a commit: expected 40 hexadecimal digits."
        )
    folder = downloads / NAME / revision
    if not all((folder / name).is_file() for name in _NEEDED):
        _download(revision, folder)
    return open_release(folder)


def _download(revision: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It logs every attempt.
    logger.info("Downloading %s, revision %s, to %s (about 130 MB)", REPOSITORY, revision, folder)
    for name in _NEEDED:
        try:
            hf_hub_download(REPOSITORY, name, revision=revision, local_dir=folder)
        except Exception as error:  # The hub's client raises whatever its network code raises.
            reason = str(error).strip().splitlines()[0][:120] if str(error) else "no message"
            raise ModelError(
                f"{name} of {REPOSITORY}, revision {revision}, could not be downloaded "
                f"({type(error).__name__}: {reason}). Without internet: download the repository on "
                "another machine, copy its folder here and pass detector=FOLDER."
            ) from error


def _check_files(folder: Path) -> dict[str, str]:
    """Compare the listed files with their checksums; return the SHA-256 by file."""
    records = _read_json(folder / CHECKSUMS)
    try:
        listed = {
            str(record["path"]): (int(record["size_bytes"]), str(record["sha256"]).lower())
            for record in records
        }
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(
            f"{folder / CHECKSUMS} is not a list of path, size_bytes and sha256."
        ) from error
    for name in (CLASSIFIER, SEQUENCE):
        if name not in listed:
            raise ModelError(f"{folder / CHECKSUMS} does not list {name}: it cannot be verified.")
    for name, (size, digest) in listed.items():
        path = folder / name
        if not path.is_file():
            continue  # Files that are not needed here, such as the decoders.
        actual = path.stat().st_size
        if actual != size:
            raise ModelError(
                f"{path} has {actual:,} bytes instead of {size:,}: the download is incomplete, or "
                "the file was changed. Download it again."
            )
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ModelError(
                    f"{path} does not have the SHA-256 of {CHECKSUMS}: it is damaged or was "
                    "changed. Download it again."
                )
    return {name: digest for name, (_, digest) in listed.items()}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}). Download it again.") from error
