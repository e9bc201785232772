"""Gradient-boosted trees on the windows of first-level predictions (CatBoost)."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from catboost import CatBoostClassifier, Pool

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import (
    Floats,
    Groups,
    Labels,
    read_description,
    write_description,
)
from rsna19_kedro.ensemble.features import Beyond, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats32

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoostingSettings:
    """How trees are grown.

    Attributes:
        radius: Slices on either side whose predictions are features.
        beyond: What stands beyond the ends of a study.
        iterations: Most trees of a model; early stopping takes fewer.
        learning_rate: Shrinkage of a tree.
        depth: Depth of the (symmetric) trees.
        bins: Borders that a feature is cut at; 32 is as good as CatBoost's 254 on
            probabilities and several times as fast.
        l2: Regularisation of leaf values.
        patience: Trees without a better inner loss before a model stops.
        inner_folds: Parts that the patients are cut into; each model leaves one out for
            early stopping and the models are averaged, so every patient is learned from.
        threads: CPU threads; ``None`` takes all. Results are equal for equal numbers.
        seed: Seed of the inner folds and of CatBoost.
    """

    radius: int = 2
    beyond: Beyond = "zeros"
    iterations: int = 400
    learning_rate: float = 0.15
    depth: int = 3
    bins: int = 32
    l2: float = 6.0
    patience: int = 25
    inner_folds: int = 3
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Member:
    """One model with the classes that it can tell; constants for the others."""

    model: CatBoostClassifier | None
    classes: tuple[int, ...]
    prior: tuple[float, ...]

    def predict(self, windows: Floats32) -> Floats:
        result = np.tile(np.array(self.prior), (len(windows), 1))
        if self.model is not None and len(windows):
            chances = np.asarray(self.model.predict(windows, prediction_type="Probability"))
            result[:, list(self.classes)] = chances[:, -len(self.classes) :]
        return result


@dataclass
class CatBoostCandidate:
    """Multi-label boosting with early stopping on inner patients.

    A class that no fitted slice shows (or every one) gets a constant: the rule of succession,
    ``(positives + 1) / (slices + 2)``.
    """

    kind: ClassVar[str] = "catboost"
    settings: BoostingSettings = field(default_factory=BoostingSettings)
    models: tuple[str, ...] = ()
    members: tuple[_Member, ...] = ()

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Grow one model for each inner fold of patients."""
        windows = window_features(features, self.settings.radius, self.settings.beyond)
        truth = np.asarray(labels).astype(np.int64)
        part = inner_folds(groups, self.settings.inner_folds, self.settings.seed)
        masks = [part == fold for fold in np.unique(part)]
        if len(masks) == 1:
            logger.warning("CatBoost: a single patient, so nothing can stop it early.")
            masks = [np.zeros(len(part), dtype=bool)]
        self.models = features.models
        self.members = tuple(self._grow(windows, truth, mask) for mask in masks)
        for place, name in enumerate(CLASSES):
            constant = sum(place not in member.classes for member in self.members)
            if constant:
                logger.warning(
                    "CatBoost: %d of %d inner models saw %s on no slice or on all of them and "
                    "predict it as a constant.",
                    *(constant, len(self.members), name),
                )

    def predict(self, features: FirstLevel) -> Floats:
        """Mean of the inner models, ``(N, 6)``."""
        settings = self.settings
        windows = window_features(features.ordered(self.models), settings.radius, settings.beyond)
        return np.mean([member.predict(windows) for member in self.members], axis=0)

    def save(self, folder: Path) -> None:
        """Write ``candidate.json`` and a CatBoost file a member."""
        described = [
            {"classes": m.classes, "prior": m.prior, "trees": m.model.tree_count_ if m.model else 0}
            for m in self.members
        ]
        content = {"settings": asdict(self.settings), "models": self.models, "members": described}
        write_description(folder, self.kind, content)
        for number, member in enumerate(self.members):
            if member.model is not None:
                member.model.save_model(str(folder / _file_name(number)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        content = read_description(folder)
        members = []
        for number, part in enumerate(content["members"]):
            model = None
            if part["classes"]:
                model = CatBoostClassifier()
                model.load_model(str(folder / _file_name(number)))
            members.append(_Member(model, tuple(part["classes"]), tuple(part["prior"])))
        settings = BoostingSettings(**content["settings"])
        return cls(settings, tuple(content["models"]), tuple(members))

    def _grow(self, windows: Floats32, truth: Labels, held_out: npt.NDArray[np.bool_]) -> _Member:
        learned = truth[~held_out]
        positives = learned.sum(axis=0)
        prior = tuple(float(p) for p in (positives + 1) / (len(learned) + 2))
        mixed = np.flatnonzero((positives > 0) & (positives < len(learned)))
        if not len(mixed):
            return _Member(None, (), prior)
        model = CatBoostClassifier(**self._catboost_parameters())
        watched = Pool(windows[held_out], truth[held_out][:, mixed]) if held_out.any() else None
        model.fit(
            Pool(windows[~held_out], learned[:, mixed]),
            eval_set=watched,
            early_stopping_rounds=self.settings.patience if watched is not None else None,
            use_best_model=watched is not None,
        )
        return _Member(model, tuple(int(k) for k in mixed), prior)

    def _catboost_parameters(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "loss_function": "MultiLogloss",
            "iterations": settings.iterations,
            "learning_rate": settings.learning_rate,
            "depth": settings.depth,
            "border_count": settings.bins,
            "l2_leaf_reg": settings.l2,
            "bootstrap_type": "No",
            "random_strength": 0.0,
            "random_seed": settings.seed,
            "thread_count": -1 if settings.threads is None else settings.threads,
            "allow_writing_files": False,
            "verbose": False,
        }


def inner_folds(groups: Groups, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Cut the patients into equal parts.

    Args:
        groups: ``(N,)`` patients.
        folds: Number of parts; fewer where there are fewer patients.
        seed: Seed of the shuffle.

    Returns:
        ``(N,)`` part of each slice; all slices of a patient are in the same one.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    parts: npt.NDArray[np.int64] = shuffled % min(folds, len(names))
    return parts[codes]


def _file_name(number: int) -> str:
    return f"member_{number}.cbm"
