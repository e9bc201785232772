"""Second-level candidates of every kind, with settings that are fast to fit."""

from rsna19_kedro.ensemble.averages import GaussianSettings, WeightedMeanSettings
from rsna19_kedro.ensemble.boosting import BoostingSettings
from rsna19_kedro.ensemble.combination import MeanSettings, SimplexSettings
from rsna19_kedro.ensemble.mlp import MLPSettings
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.sequence import SequenceSettings
from rsna19_kedro.ensemble.settings import WindowOptions

SHORT = {"epochs": 1, "least_steps": 30, "checks": 5}

SETTINGS = {
    "mean": MeanSettings(),
    "weighted_mean": WeightedMeanSettings(),
    "gaussian": GaussianSettings(),
    "simplex": SimplexSettings(radius=1),
    "catboost": BoostingSettings(
        features=WindowOptions(radius=0, mean_radius=1),
        iterations=25,
        learning_rate=0.25,
        inner_folds=2,
        threads=1,
    ),
    "mlp": MLPSettings(width=16, **SHORT),
    "sequence": SequenceSettings(width=8, **SHORT),
}
"""By kind; blends are built from these."""


def builders(*names: str, seed: int = 0):
    """Return functions that make unfitted candidates, by name; all candidates without names."""
    chosen = names or tuple(SETTINGS)
    return {name: lambda name=name: build(SETTINGS[name], seed) for name in chosen}
