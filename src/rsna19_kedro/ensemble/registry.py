"""Registry of second-level models: settings, construction and loading by kind."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from rsna19_kedro.ensemble.candidate import DESCRIPTION, Candidate
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.errors import ModelError, did_you_mean

KINDS: Final = {
    "mean": ("combination.MeanSettings", "combination.MeanCandidate"),
    "weighted_mean": ("averages.WeightedMeanSettings", "averages.WeightedMeanCandidate"),
    "gaussian": ("averages.GaussianSettings", "averages.GaussianCandidate"),
    "simplex": ("combination.SimplexSettings", "combination.SimplexCandidate"),
    "catboost": ("boosting.BoostingSettings", "boosting.CatBoostCandidate"),
    "mlp": ("mlp.MLPSettings", "mlp.MLPCandidate"),
    "sequence": ("sequence.SequenceSettings", "sequence.SequenceCandidate"),
    "blend": ("blend.BlendSettings", "blend.BlendCandidate"),
    "corrected": ("correction.CorrectedSettings", "correction.CorrectedCandidate"),
}
"""Settings and class by kind, as ``module.name`` in this package; imported on demand."""


def read_settings(content: Any) -> CandidateSettings:
    """Parse settings of any kind.

    Args:
        content: Mapping with ``kind``, or settings, which are returned unchanged.

    Raises:
        ValueError: Unknown kind, unknown key or invalid value (reported by Pydantic).
    """
    if isinstance(content, CandidateSettings):
        return content
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ValueError(f"kind {kind!r} is unknown.{hint} Known kinds: {', '.join(KINDS)}")
    settings: CandidateSettings = _imported(KINDS[kind][0])(**content)
    return settings


def build(settings: CandidateSettings, seed: int = 0) -> Candidate:
    """Make an unfitted candidate."""
    candidate: Candidate = _imported(KINDS[settings.kind][1])(settings, seed)
    return candidate


def read_first_level(folder: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Read the models and, by model, the test-time augmentations that a candidate was fitted on.

    Without a saved candidate, both are empty.

    Raises:
        ModelError: The description of the candidate is damaged.
    """
    if not (folder / DESCRIPTION).is_file():
        return (), {}
    content = _read_description(folder)
    models = content.get("models") or content.get("trained_on", ())
    return tuple(models), content.get("augmentations", {})


def load_candidate(folder: Path) -> Candidate:
    """Load a saved second-level model of any kind.

    Raises:
        ModelError: The folder holds no model, a damaged one, or one of an unknown kind or another
            version.
    """
    content = _read_description(folder)
    if content["kind"] not in KINDS:
        raise ModelError(
            f"The second-level model in {folder} has the unknown kind {content['kind']!r} (known: "
            f"{', '.join(KINDS)}). It was written by another version: run the pipeline "
            "stacking again."
        )
    try:
        settings = read_settings({"kind": content["kind"], **content["settings"]})
        candidate = build(settings, content["seed"])
        candidate.models = tuple(content["models"])
        candidate.trained_on = content.get("trained_on", {})
        candidate.augmentations = content.get("augmentations", {})
        for number, name in enumerate(content["parts"]):
            candidate.parts[name] = load_candidate(folder / f"part_{number}")
        candidate.read_learned(content["learned"], folder)
    except (KeyError, ValidationError) as error:
        raise ModelError(
            f"The second-level model in {folder} was written by another version ({error!r:.80}): "
            "run the pipeline stacking again."
        ) from error
    return candidate


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"No second-level model in {folder}: {DESCRIPTION} is missing. Run the pipeline "
            "stacking, which writes it."
        ) from error
    except ValueError as error:
        raise ModelError(
            f"{path} is damaged ({error}). Run the pipeline stacking again, which writes it."
        ) from error
    return content


def _imported(path: str) -> Any:
    module, name = path.split(".")
    return getattr(import_module(f"rsna19_kedro.ensemble.{module}"), name)
