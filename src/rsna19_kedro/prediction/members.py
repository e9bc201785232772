"""The checkpoints that predict a new study, and how their predictions are combined."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.registry import load_candidate, read_first_level
from rsna19_kedro.errors import InputError, ModelError
from rsna19_kedro.networks.checkpoint import Checkpoint, read_metadata
from rsna19_kedro.networks.made_from import MADE_FROM, check_folds_alike, check_models_fit
from rsna19_kedro.networks.zoo import PACKAGED, SMALL, SMALL_CHECKPOINT, ZOO

logger = logging.getLogger(__name__)

_FALLBACK = ("normal",)

LEVEL2: Final = "level2"
"""Folder of the second level, beside the folders of the models."""


@dataclass(frozen=True)
class Member:
    """A checkpoint that takes part in a prediction.

    Attributes:
        model: Name of the model.
        fold: Its held-out fold.
        path: File of the checkpoint.
        augmentations: Test-time augmentations that the second level was fitted with; empty if
            unknown.
    """

    model: str
    fold: int
    path: Path
    augmentations: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Model and fold, as shown to the user."""
        return f"{self.model} fold {self.fold}"

    def metadata(self) -> dict[str, Any]:
        """Read only the metadata of the checkpoint."""
        return read_metadata(self.path)

    def load(self) -> tuple[Checkpoint, tuple[str, ...]]:
        """Read the checkpoint, and choose the test-time augmentations.

        Without those of the second level, they are the ones of the recipe when it was trained.
        """
        checkpoint = Checkpoint.read(self.path)
        recipe: dict[str, Any] = checkpoint.metadata.get("recipe", {})
        return checkpoint, self.augmentations or tuple(recipe.get("variants", _FALLBACK))


def find_members(
    folder: Path,
    models: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    fast: bool = False,
    *,
    packaged: bool = True,
) -> list[Member]:
    """Find checkpoints in a folder such as ``data/06_models``.

    The small model of this package takes part only if the folder holds no checkpoint and ``models``
    is ``None``, or if ``models`` names it and the folder does not hold it.

    Args:
        folder: Holds ``<model>/fold_<k>/checkpoint.safetensors``.
        models: Names of models; ``None`` for those of the second level, or for all trained ones if
            no second level is stored or some of its models are missing.
        folds: Numbers of folds; ``None`` for all trained ones.
        fast: Only the first fold of the first model.
        packaged: Whether the small model of this package takes the place of missing models.

    Raises:
        ModelError: No requested model is trained, the folds of a model were not trained alike,
            or models have different look-up tables.
    """
    fitted, augmentations = ((), {}) if fast else read_first_level(folder / LEVEL2)
    trained = _list_members(folder, augmentations)
    names = {member.model for member in trained}
    if (SMALL in models and SMALL not in names) if models else packaged and not trained:
        trained += _list_members(PACKAGED, {})
    if models is None and fitted and names.issuperset(fitted):
        models = fitted
    requested = [
        member
        for member in trained
        if (models is None or member.model in models) and (folds is None or member.fold in folds)
    ]
    if not requested:
        available = ", ".join(sorted(member.title for member in trained)) or "none"
        raise ModelError(
            f"No requested model is trained in {folder}; available: {available}. Train models "
            "first (kedro run --env demo for small ones on synthetic heads, kedro run --pipelines "
            "cnn_training for real ones), or copy a folder of checkpoints there."
        )
    members = requested[:1] if fast else requested
    _check_alike(members)
    return members


def warn_of_small_model(
    members: Sequence[Member], folder: Path, models: Sequence[str] | None
) -> None:
    """Warn if the small model of this package takes part; arguments as for ``find_members``."""
    if any(member.path == SMALL_CHECKPOINT for member in members):
        logger.warning(
            "No trained %s in %s: using the small model of this package, which was trained on "
            "synthetic heads only",
            *(SMALL if models else "model", folder),
        )


def _list_members(folder: Path, augmentations: Mapping[str, Sequence[str]]) -> list[Member]:
    return [
        Member(
            model,
            int(path.parent.name.removeprefix("fold_")),
            path,
            tuple(augmentations.get(model, ())),
        )
        for model in ZOO
        for path in sorted(folder.glob(f"{model}/fold_[0-4]/checkpoint.safetensors"))
    ]


def _check_alike(members: Sequence[Member]) -> None:
    made_from: dict[str, dict[int, Any]] = {}
    for member in members:
        made_from.setdefault(member.model, {})[member.fold] = member.metadata().get(MADE_FROM)
    for model, by_fold in made_from.items():
        check_folds_alike(model, by_fold)
    every = (made for by_fold in made_from.values() for made in by_fold.values())
    check_models_fit(every, same_labels=False)


class Combination:
    """Combine models by the second level if it fits them, else by their mean.

    Args:
        level2: Folder of the trained second level, which may be missing; ``None`` for the mean.
        weights: Recorded digests of each model's weights, by fold.

    Raises:
        ModelError: The second level was fitted to predictions of other networks.
    """

    def __init__(
        self, level2: Path | None, weights: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._candidate: Candidate | None = None
        self._without = ""
        if level2 is None:
            return
        if not (level2 / "candidate.json").is_file():
            self._without = " (no second level is trained)"
            return
        try:
            self._candidate = load_candidate(level2)
        except InputError as error:
            self._leave_out(error)
        else:
            self._candidate.check_members(weights or {})

    def __call__(
        self, by_model: Mapping[str, np.ndarray], areas: np.ndarray | None = None
    ) -> tuple[np.ndarray, str]:
        """Combine the predictions of one study.

        Args:
            by_model: Probabilities ``(S, 6)`` of its slices per model, the mean over folds and
                test-time augmentations.
            areas: ``(S, 7)`` mean areas of predicted masks, if any model predicts them.

        Returns:
            Probabilities ``(S, 6)`` float64, and the method in words.
        """
        predictions = np.stack(list(by_model.values()), axis=1).astype(np.float32)
        features = FirstLevel(
            tuple(by_model),
            predictions,
            np.zeros(len(predictions), np.int64),
            np.arange(len(predictions)),
            None if areas is None else areas.astype(np.float32),
        )
        if self._candidate is not None:
            try:
                return self._by_second_level(self._candidate, features)
            except InputError as error:
                self._leave_out(error)
        models = features.models
        plain = f"mean of {len(models)} models" if len(models) > 1 else f"{models[0]} alone"
        return features.predictions.mean(axis=1, dtype=np.float64), plain + self._without

    @staticmethod
    def _by_second_level(candidate: Candidate, features: FirstLevel) -> tuple[np.ndarray, str]:
        values = np.asarray(candidate.predict(features), dtype=np.float64)
        assert values.shape == (len(features.predictions), len(CLASSES))
        kind = getattr(candidate, "base", candidate).kind  # without its corrections
        used = len(candidate.models or candidate.trained_on)
        over = "one model" if used == 1 else f"{used} models"
        return np.clip(values, 0.0, 1.0), f"second level ({kind}) over {over}"

    def _leave_out(self, error: InputError) -> None:
        """Use the mean from now on, and say why."""
        logger.warning("The second level does not fit these models: using their mean")
        self._candidate = None
        self._without = f" ({str(error).split('.')[0]})"
