"""Fits of nested cross-validation: two side by side, each kept in a folder when it is finished."""

import hashlib
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from rsna19_kedro.ensemble.candidate import Candidate, Groups, Labels
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats32
from rsna19_kedro.files import atomic_path, empty_folder
from rsna19_kedro.parallel import available_cores
from rsna19_kedro.progress import progress_bar
from rsna19_kedro.version import __version__

logger = logging.getLogger(__name__)

Folds = npt.NDArray[np.integer]
Builders = Mapping[str, Callable[[], Candidate]]

_IDENTITY: Final = "identity.json"


@dataclass(frozen=True)
class Data:
    """Data of the nested cross-validation.

    Attributes:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        patients: ``(N,)`` patients.
        folds: ``(N,)`` fold of the slice.
    """

    features: FirstLevel
    labels: Labels
    patients: Groups
    folds: Folds

    @property
    def numbers(self) -> list[int]:
        """Numbers of the folds, ascending."""
        return [int(fold) for fold in np.unique(self.folds)]

    def digest(self) -> str:
        """SHA-256 of all values."""
        level = self.features
        areas = np.empty(0) if level.areas is None else level.areas
        arrays = (level.predictions, level.study, level.slice_num, areas, self.labels, self.folds)
        result = hashlib.sha256("|".join(level.models).encode())
        for array in arrays:
            result.update(np.ascontiguousarray(array).tobytes())
        result.update("|".join(map(str, self.patients)).encode())
        return result.hexdigest()


class Fit(NamedTuple):
    """One fit.

    Attributes:
        name: Name of the candidate.
        left_out: One or two folds that it is not fitted on and that it predicts.
    """

    name: str
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class Predictions:
    """Predictions of one candidate by all its fits, read from the folder when needed.

    Attributes:
        folder: Folder of the finished fits.
        folds: ``(N,)`` fold of the slice.
    """

    folder: Path
    folds: Folds

    def without(self, outer: int) -> Floats32:
        """Predictions for an outer fold, ``(N, 6)``.

        Those of the outer fold are by the fit on all other folds, those of each other fold by the
        fit on all folds except that one and the outer one.
        """
        result = np.empty((len(self.folds), 6), np.float32)
        for fold in np.unique(self.folds):
            left_out = tuple(sorted({int(fold), outer}))
            with np.load(_part(self.folder, left_out)) as part:
                result[self.folds == fold] = part[str(fold)]
        return result


@contextmanager
def fitted(builders: Builders, data: Data, folder: Path | None) -> Iterator[dict[str, Predictions]]:
    """Fit all candidates without each fold and without each pair of folds.

    Networks are fitted one after the other in a thread, because they share PyTorch's random state,
    and the other candidates in this thread with the remaining cores. The results do not depend on
    the number of cores.

    Args:
        builders: Functions that make an unfitted candidate, by name.
        data: The data.
        folder: Folder for finished fits, which an interrupted run resumes from; the caller empties
            it after saving the result. ``None`` uses a temporary folder.

    Yields:
        The predictions by candidate.
    """
    with tempfile.TemporaryDirectory() as temporary:
        yield _Fits(builders, data, folder or Path(temporary)).run()


class _Fits:
    def __init__(self, builders: Builders, data: Data, folder: Path) -> None:
        self._builders, self._data, self._folder = builders, data, folder
        self._stop = Event()
        self._seconds = dict.fromkeys(builders, 0.0)
        numbers = data.numbers
        # The smaller fits first: the networks are finished before the largest fits of the others.
        left_out = [*combinations(numbers, 2), *combinations(numbers, 1)]
        self._fits = [Fit(name, folds) for name in builders for folds in left_out]

    def run(self) -> dict[str, Predictions]:
        folders = {name: self._prepared(name, self._data.digest()) for name in self._builders}
        missing = [fit for fit in self._fits if not _part(folders[fit.name], fit.left_out).exists()]
        self._left = Counter(fit.name for fit in missing)
        if len(missing) < len(self._fits):
            done = len(self._fits) - len(missing)
            logger.info("Second level: %d of %d fits are kept", done, len(self._fits))
        with progress_bar() as self._bar:
            total = sum(map(self._cost, self._fits))
            self._task = self._bar.add_task("Second level", total=total)
            self._bar.update(self._task, completed=total - sum(map(self._cost, missing)))
            is_network = {name: build().is_network for name, build in self._builders.items()}
            networks = [fit for fit in missing if is_network[fit.name]]
            self._run_side_by_side([fit for fit in missing if not is_network[fit.name]], networks)
        return {name: Predictions(path, self._data.folds) for name, path in folders.items()}

    def _prepared(self, name: str, digest: str) -> Path:
        """Folder of a candidate, emptied if its fits are of other data or settings."""
        folder, candidate = self._folder / name, self._builders[name]()
        identity = {
            "data": digest,
            "settings": candidate.settings.model_dump(mode="json"),
            "seed": candidate.seed,
            "version": __version__,
        }
        note = folder / _IDENTITY
        if not note.is_file() or json.loads(note.read_text()) != identity:
            empty_folder(folder)
            with atomic_path(note) as path:
                path.write_text(json.dumps(identity))
        return folder

    def _run_side_by_side(self, others: Sequence[Fit], networks: Sequence[Fit]) -> None:
        cores = available_cores()
        if cores == 1 or not networks or not others:
            self._run_in_order([*others, *networks], lambda: cores)
            return
        with ThreadPoolExecutor(1) as pool:
            thread: Future[None] = pool.submit(self._run_in_order, networks, lambda: 1)

            def remaining() -> int:
                if not thread.done():
                    return cores - 1
                thread.result()  # Raises its error.
                return cores

            try:
                self._run_in_order(others, remaining)
                thread.result()
            except BaseException:
                self._stop.set()
                raise

    def _run_in_order(self, fits: Sequence[Fit], threads: Callable[[], int]) -> None:
        for fit in fits:
            if self._stop.is_set():
                return
            start = time.perf_counter()
            self._fit(fit, threads())
            self._seconds[fit.name] += time.perf_counter() - start
            self._left[fit.name] -= 1
            if not self._left[fit.name]:
                seconds = self._seconds[fit.name]
                logger.info("Second level: %s fitted in %.1f s", fit.name, seconds)
            self._bar.advance(self._task, self._cost(fit))

    def _fit(self, fit: Fit, threads: int) -> None:
        data = self._data
        learned = ~np.isin(data.folds, fit.left_out)
        candidate = self._builders[fit.name]()
        candidate.threads, candidate.stop = threads, self._stop
        candidate.fit(data.features.take(learned), data.labels[learned], data.patients[learned])
        if self._stop.is_set():  # The fit may have ended early.
            return
        values: dict[str, Any] = {}
        for fold in fit.left_out:
            predicted = candidate.predict(data.features.take(data.folds == fold))
            values[str(fold)] = predicted.astype(np.float32)
        with atomic_path(_part(self._folder / fit.name, fit.left_out)) as path:
            np.savez(path, **values)

    def _cost(self, fit: Fit) -> float:
        """Estimated duration; only comparisons matter."""
        return self._builders[fit.name]().cost * (len(self._data.numbers) - len(fit.left_out))


def _part(folder: Path, left_out: tuple[int, ...]) -> Path:
    return folder / f"without_{'_'.join(map(str, left_out))}.npz"
