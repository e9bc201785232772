"""Gradient-boosted trees on the windows of first-level predictions (CatBoost)."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels
from rsna19_kedro.ensemble.features import Windows, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats32
from rsna19_kedro.ensemble.settings import CandidateSettings, WindowOptions
from rsna19_kedro.ensemble.splits import Bools, held_out_parts

if TYPE_CHECKING:  # Takes a second to import.
    from catboost import CatBoostClassifier

logger = logging.getLogger(__name__)


class BoostingSettings(CandidateSettings):
    """Settings of the boosted trees.

    Attributes:
        kind: Always catboost.
        features: Window of features of a slice.
        iterations: Maximum number of trees; early stopping may keep fewer.
        learning_rate: Shrinkage per tree.
        depth: Depth of the (symmetric) trees.
        bins: Split candidates per feature (``border_count``); 32 is as good as CatBoost's 254
            on probabilities and several times as fast.
        feature_share: Share of the features sampled for each split (``rsm``; CPU only).
        l2: Regularisation of leaf values.
        patience: Trees without improvement of the held-out loss before early stopping.
        inner_folds: Number of parts of the patients. Each model holds one part out for early
            stopping, and the models are averaged.
        per_class: Fit and stop one model per class instead of a multi-label model (takes
            about six times as long).
        task_type: ``CPU``, or ``GPU``, which is not reproducible from run to run.
        threads: CPU threads; ``None`` uses all that are free.
    """

    kind: Literal["catboost"] = "catboost"
    features: WindowOptions = WindowOptions(radius=1, mean_radius=5, scale="logit")
    iterations: int = Field(400, ge=1)
    learning_rate: float = Field(0.15, gt=0, le=1)
    depth: int = Field(3, ge=1, le=10)
    bins: int = Field(32, ge=2, le=254)
    feature_share: float = Field(0.3, gt=0, le=1)
    l2: float = Field(6.0, ge=0)
    patience: int = Field(25, ge=1)
    inner_folds: int = Field(3, ge=2)
    per_class: bool = False
    task_type: Literal["CPU", "GPU"] = "CPU"
    threads: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class _Member:
    """Models fitted without one part of the patients, with their classes, and constants."""

    trees: "tuple[tuple[CatBoostClassifier, tuple[int, ...]], ...]"
    prior: tuple[float, ...]

    def predict(self, windows: Floats32) -> Floats:
        """Predict probabilities ``(N, 6)``; constants for classes without a model."""
        result = np.tile(np.array(self.prior), (len(windows), 1))
        for model, classes in self.trees if len(windows) else ():
            predicted = np.asarray(model.predict(windows, prediction_type="Probability"))
            result[:, list(classes)] = predicted[:, -len(classes) :]
        return result


@dataclass
class CatBoostCandidate(Candidate):
    """Boosting, multi-label or per class, with early stopping on held-out patients.

    A class with the same label on every training slice gets a constant by the rule of
    succession, ``(positives + 1) / (slices + 2)``.
    """

    cost: ClassVar[float] = 5.0
    settings: BoostingSettings = field(default_factory=BoostingSettings)
    members: tuple[_Member, ...] = ()

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit one member per inner fold of patients."""
        windows = Windows(features, self.settings.features)
        truth = np.asarray(labels).astype(np.int64)
        masks = held_out_parts(groups, self.settings.inner_folds, self.seed, "CatBoost")
        self.models = features.models
        del features  # The windows hold what is needed: 0.2 GB at the size of the challenge.
        self.members = tuple(self._fit_member(windows, truth, mask) for mask in masks)
        fitted = Counter(k for member in self.members for _, ks in member.trees for k in ks)
        for index, name in enumerate(CLASSES):
            constant = len(self.members) - fitted[index]
            if constant:
                logger.warning(
                    "CatBoost: %d of %d inner models predict %s as a constant, because their "
                    "training slices all have the same label.",
                    *(constant, len(self.members), name),
                )

    def predict(self, features: FirstLevel) -> Floats:
        """Return the mean of the members, ``(N, 6)``."""
        windows = window_features(features.ordered(self.models), self.settings.features)
        return np.mean([member.predict(windows) for member in self.members], axis=0)

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return priors and classes as JSON; write each model as a CatBoost file."""
        for number, member in enumerate(self.members):
            for index, (model, _) in enumerate(member.trees):
                model.save_model(str(folder / _file_name(number, index)))
        described = [
            {"prior": member.prior, "trees": [classes for _, classes in member.trees]}
            for member in self.members
        ]
        return {"members": described}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Restore the members from the CatBoost files."""
        from catboost import CatBoostClassifier

        members = []
        for number, described in enumerate(learned["members"]):
            paths = [str(folder / _file_name(number, k)) for k in range(len(described["trees"]))]
            trees = tuple(
                (CatBoostClassifier().load_model(path), tuple(classes))
                for path, classes in zip(paths, described["trees"], strict=True)
            )
            members.append(_Member(trees, tuple(described["prior"])))
        self.members = tuple(members)

    def _fit_member(self, windows: Windows, truth: Labels, held_out: Bools) -> _Member:
        from catboost import CatBoostClassifier, Pool

        training = truth[~held_out]
        positives = training.sum(axis=0)
        prior = tuple(float(p) for p in (positives + 1) / (len(training) + 2))
        mixed = [int(k) for k in np.flatnonzero((positives > 0) & (positives < len(training)))]
        class_groups = [(k,) for k in mixed] if self.settings.per_class else [tuple(mixed)]
        trees = []
        for classes in class_groups if mixed else []:
            model = CatBoostClassifier(**self._catboost_parameters(len(classes)))
            target = truth[:, classes[0] if len(classes) == 1 else list(classes)]
            # CatBoost does not copy arrays in Fortran order.
            rows, checked = np.flatnonzero(~held_out), np.flatnonzero(held_out)
            validation = Pool(windows.rows(checked, "F"), target[checked]) if len(checked) else None
            model.fit(
                Pool(windows.rows(rows, "F"), target[rows]),
                eval_set=validation,
                early_stopping_rounds=self.settings.patience if validation is not None else None,
                use_best_model=validation is not None,
            )
            trees.append((model, classes))
        return _Member(tuple(trees), prior)

    def _catboost_parameters(self, classes: int) -> dict[str, Any]:
        settings = self.settings
        share = {"rsm": settings.feature_share} if settings.task_type == "CPU" else {}
        return {
            **share,
            "loss_function": "MultiLogloss" if classes > 1 else "Logloss",
            "iterations": settings.iterations,
            "learning_rate": settings.learning_rate,
            "depth": settings.depth,
            "border_count": settings.bins,
            "l2_leaf_reg": settings.l2,
            # One step per leaf instead of ten: faster, and as good on held-out patients.
            "leaf_estimation_iterations": 1,
            "bootstrap_type": "No",
            "random_strength": 0.0,
            "random_seed": self.seed,
            "task_type": settings.task_type,
            "thread_count": settings.threads or self.threads,
            "allow_writing_files": False,
            "verbose": False,
        }


def _file_name(number: int, index: int) -> str:
    return f"member_{number}_{index}.cbm"
