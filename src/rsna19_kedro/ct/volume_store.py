"""A folder of CT volumes: one file per study, one compressed chunk per slice.

Each file is a contiguous Blosc2 frame. Codec and filters were chosen with
``benchmarks/volume_store.py``: LZ4HC level 1 after shuffle and bytedelta needs about 45 % of the
raw size of real head CT, and five slices are read in less than a millisecond on one core.
Zstandard needs 36 % but twice the time in every epoch; plain LZ4 needs more than 50 %; Zarr
spends more time on opening a study than on reading it.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import blosc2
import numpy as np

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import DamagedFileError, InputError, SourceError
from rsna19_kedro.files import atomic_path

SUFFIX: Final = ".b2"
META_KEY: Final = "volume"


class VolumeStore:
    """Volumes (S, H, W) int16 in HU, each with a dictionary of metadata.

    An instance contains only a path, so that it can be pickled and used by several worker
    processes at the same time; every call opens and closes its file and uses one thread.

    ``store[study_id]`` is a whole volume, ``len(store)`` counts the studies, and iteration yields
    their IDs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"VolumeStore({str(self.folder)!r})"

    def __contains__(self, study_id: object) -> bool:
        return isinstance(study_id, str) and self.path(study_id).is_file()

    def __getitem__(self, study_id: str) -> np.ndarray:
        if not isinstance(study_id, str):
            raise TypeError(f"A study ID is text, such as store.study_ids()[0], not {study_id!r}.")
        return self.read(study_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.study_ids())

    def __len__(self) -> int:
        return len(self.study_ids())

    def __bool__(self) -> bool:
        return True  # Never false, although it has a length.

    def path(self, study_id: str) -> Path:
        """Return the file of a study; characters not allowed in file names are percent-encoded."""
        name = quote(study_id, safe="")
        if name.startswith("."):
            name = f"%2E{name[1:]}"
        return self.folder / f"{name}{SUFFIX}"

    def study_ids(self) -> list[str]:
        """Return the sorted studies of the folder, ignoring unfinished files of a killed run."""
        files = self.folder.glob(f"*{SUFFIX}")
        return sorted(
            unquote(file.name.removesuffix(SUFFIX))
            for file in files
            if not file.name.startswith(".")
        )

    def write(self, study_id: str, volume: np.ndarray, meta: dict[str, object]) -> None:
        """Store a volume atomically: its final name appears when the file is complete.

        Args:
            study_id: StudyInstanceUID (0020,000D) or any other name.
            volume: (S, H, W) int16 HU with at least one slice.
            meta: JSON-serialisable metadata, stored in the same file.

        Raises:
            ValueError: The volume has another type or shape.
        """
        if volume.dtype != np.int16 or volume.ndim != 3 or 0 in volume.shape:
            raise ValueError(
                f"Study {study_id}: a volume is int16 (slices, rows, columns) with at least "
                f"one slice, not {volume.dtype} {volume.shape}."
            )
        slice_bytes = volume[0].nbytes
        frame = blosc2.SChunk(
            chunksize=slice_bytes,
            contiguous=True,
            cparams={
                "codec": blosc2.Codec.LZ4HC,
                "clevel": 1,
                "filters": [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA],
                "typesize": volume.itemsize,
                "blocksize": slice_bytes,
                "nthreads": 1,
            },
            dparams={"nthreads": 1},
        )
        for slice_hu in volume:
            frame.append_data(np.ascontiguousarray(slice_hu))
        frame.vlmeta[META_KEY] = json.dumps({"shape": volume.shape, "meta": meta})
        with atomic_path(self.path(study_id)) as part:
            part.write_bytes(frame.to_cframe())

    def read(self, study_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read consecutive slices; only their chunks are decompressed.

        Args:
            study_id: A study of the store.
            start: First slice, from 0.
            stop: Slice after the last one; ``None`` for the end.

        Returns:
            (stop - start, H, W) int16 HU.

        Raises:
            SourceError: The study is missing.
            DamagedFileError: The file of the study is damaged.
            IndexError: ``start`` or ``stop`` lie outside the volume.
        """
        frame, header = self._open(study_id)
        slices, rows, cols = header["shape"]
        end = slices if stop is None else stop
        window = np.empty((max(end - start, 0), rows, cols), dtype=np.int16)
        self._decompress(study_id, frame, start, end, window)
        return window

    def read_into(self, study_id: str, start: int, out: np.ndarray) -> None:
        """Read consecutive slices into an existing array, without a copy.

        Args:
            study_id: A study of the store.
            start: First slice, from 0.
            out: (n, H, W) int16, contiguous, with the rows and columns of the study.

        Raises:
            SourceError: The study is missing.
            DamagedFileError: The file of the study is damaged.
            IndexError: The slices lie outside the volume.
            ValueError: The stored slices have another size.
        """
        frame = self._frame(study_id)
        if len(out) and frame.chunksize != out[0].nbytes:
            raise ValueError(f"Study {study_id}: a slice has {frame.chunksize} bytes")
        self._decompress(study_id, frame, start, start + len(out), out)

    def shape(self, study_id: str) -> tuple[int, int, int]:
        """Return the number of slices, rows and columns of a study."""
        slices, rows, cols = self._open(study_id)[1]["shape"]
        return slices, rows, cols

    def meta(self, study_id: str) -> dict[str, object]:
        """Return the metadata that were given to :meth:`write`."""
        meta: dict[str, object] = self._open(study_id)[1]["meta"]
        return meta

    def keep_only(self, study_ids: Collection[str]) -> list[str]:
        """Remove the files of all other studies; return these studies."""
        others = [study_id for study_id in self.study_ids() if study_id not in study_ids]
        for study_id in others:
            self.path(study_id).unlink()
        return others

    def digest(self) -> str:
        """Return the SHA-256 of the studies' names and voxels.

        The voxels are not read if the metadata contain their checksum (``record``).
        """
        whole = hashlib.sha256()
        for study_id in self.study_ids():
            try:
                record = self.meta(study_id).get("record")
            except InputError as error:
                record = {"checksum": str(error)}
            checksum = record.get("checksum") if isinstance(record, dict) else None
            if checksum is None:
                checksum = hashlib.sha256(self.path(study_id).read_bytes()).hexdigest()
            whole.update(f"{study_id} {checksum}\n".encode())
        return whole.hexdigest()

    def _open(self, study_id: str) -> tuple[Any, dict[str, Any]]:
        frame = self._frame(study_id)
        try:
            header: dict[str, Any] = json.loads(frame.vlmeta[META_KEY])
            if frame.nchunks != header["shape"][0]:
                raise ValueError(f"{frame.nchunks} slices instead of {header['shape'][0]}")
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise self._damaged(study_id, error) from error
        return frame, header

    def _frame(self, study_id: str) -> Any:
        path = self.path(study_id)
        try:
            return blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        except FileNotFoundError as error:
            raise SourceError(
                f"The volume of study {study_id} is not in {self.folder}: no file "
                f"{path.name}. {_remedy()}"
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(study_id, error) from error

    def _decompress(
        self, study_id: str, frame: Any, start: int, stop: int, out: np.ndarray
    ) -> None:
        if not 0 <= start <= stop <= frame.nchunks:
            last = frame.nchunks - 1
            raise IndexError(f"Study {study_id} has slices 0..{last}, not {start}..{stop - 1}")
        try:
            for index, target in enumerate(out, start):
                _decompress_slice(frame, index, target)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(study_id, error) from error

    def _damaged(self, study_id: str, error: Exception) -> DamagedFileError:
        return DamagedFileError(
            f"The volume of study {study_id} cannot be read because its file "
            f"{self.path(study_id)} is damaged ({error}). {_remedy()}"
        )


def _remedy() -> str:
    return (
        "Remove the file if it exists, then prepare missing volumes: "
        f"{kedro_run('--pipelines', 'volume_prep')}"
    )


blosc2.set_releasegil(True)


def _decompress_slice(frame: Any, index: int, target: np.ndarray) -> None:
    """Decompress a slice without the global interpreter lock, so that threads read in parallel.

    ``SChunk.decompress_chunk`` would hold the lock and read the chunk twice.
    """
    blosc2.decompress2(frame.get_chunk(index), dst=target, nthreads=1)
