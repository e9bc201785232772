"""The models and folds in the graph.

``globals.yml`` lists them; the runtime parameters ``models`` and ``fold`` select some of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.errors import ParameterError, did_you_mean
from rsna19_kedro.networks.zoo import ZOO, ancestors_of

SCOPE_KEYS: Final = {
    "fold": "folds to train and predict: 2, or 0,2",
    "models": "models, or all: resnet18_400,dpn68_384_5_planes_combine_last",
}
"""Runtime parameters that select models and folds, and what they mean."""

GLOBAL_KEYS: Final = {
    "raw_dir": "folder of the download, or of your own DICOM files",
    "seed": "random seed of folds, phantoms, augmentation and weights",
}
"""Runtime parameters that override an entry of ``globals.yml``."""

NEW_STUDY_KEYS: Final = {
    "source": "new studies: a DICOM file, a folder, a zip or a NIfTI file",
    "output": "folder name for the results (default: source and time)",
    "fast": "true: one model, one fold, no test-time augmentation",
    "include_phi": "true: outputs may contain patient names and file paths",
    "dicom_output": "true: write a DICOM SR and a DICOM SEG per study",
    "slab_mm": "thickness to which thin slices are averaged, in mm (0: never)",
    "detector": "a public detector: folder of its files, or ct-head-hemorrhage",
    "detector_revision": "commit of its repository, for detector=ct-head-hemorrhage",
    "combine": "mean: average the detector with the trained models",
    "follow_links": "false: refuse symbolic links that lead out of the source",
}
"""Runtime parameters that override an entry of ``new_study``."""

REUSE_KEYS: Final = {
    "remake": "true: replace results that took more than an hour to make",
    "reuse": "stored: use results that are out of date as they are",
    "wait": "false: fail instead of waiting for another run",
}
"""Parameters that control the reuse of results."""

ANCESTOR_TAG = "ancestor"
"""Tag of a training that is needed only to initialise another model."""


@dataclass(frozen=True)
class Scope:
    """The models and folds of a session.

    Attributes:
        models: Names of the requested models, in the order of the zoo.
        folds: Numbers in 0..4, ascending.
        ancestors: Other models that are needed to initialise one of ``models``.
        phantoms: Whether synthetic studies replace a download: the environment requests them
            and the user gave no ``raw_dir``.
    """

    models: tuple[str, ...]
    folds: tuple[int, ...]
    ancestors: tuple[str, ...] = ()
    phantoms: bool = False

    @property
    def complete(self) -> bool:
        """Whether all folds are included, which the second level and the report need."""
        return self.folds == FOLDS


def resolve_scope(
    global_config: Mapping[str, Any], runtime_params: Mapping[str, Any] | None = None
) -> Scope:
    """Determine the scope of a session.

    Args:
        global_config: Content of ``globals.yml``: ``models``, ``folds``, ``phantoms``.
        runtime_params: Values of ``--params``: ``fold`` (``2`` or ``0,2``) and ``models``
            (``all`` or ``a,b``) select a subset, ``raw_dir`` replaces phantoms.

    Raises:
        ParameterError: An unknown model or fold; the message names the valid ones.
    """
    runtime = runtime_params or {}
    models = _models(runtime.get("models", global_config.get("models", ())))
    folds = _folds(runtime.get("fold", global_config.get("folds", FOLDS)))
    wants_phantoms = bool(global_config.get("phantoms", False)) and not runtime.get("raw_dir")
    inherited = {parent for name in models for parent in ancestors_of(name)} - set(models)
    return Scope(
        models=models,
        folds=folds,
        ancestors=tuple(name for name in ZOO if name in inherited),
        phantoms=wants_phantoms,
    )


def check_runtime_params(runtime_params: Mapping[str, Any], parameter_keys: Iterable[str]) -> None:
    """Refuse an unknown top-level runtime parameter: ``fodl:2`` must not run all folds.

    Raises:
        ParameterError: A key that is neither a scope key, a global nor a parameter.
    """
    known = sorted({*SCOPE_KEYS, *GLOBAL_KEYS, *NEW_STUDY_KEYS, *parameter_keys})
    for key in runtime_params:
        if key not in known:
            hint = did_you_mean(key, known)
            others = ", ".join(name for name in known if name not in ZOO)
            raise ParameterError(
                f"Unknown parameter {key!r} in --params."
                + (hint or f"\nParameters: {others}\nModels: {', '.join(ZOO)}")
                + "\nAll parameters are documented in conf/base/parameters/."
            )


def _items(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return [str(item) for item in value] if isinstance(value, Iterable) else [str(value)]


def _models(value: Any) -> tuple[str, ...]:
    names = _items(value)
    if names == ["all"]:
        return tuple(
            name for name, spec in ZOO.items() if spec.reference and not spec.only_starts_others
        )
    for name in names:
        if name not in ZOO:
            hint = did_you_mean(name, ZOO)
            raise ParameterError(f"Unknown model {name!r}.{hint} The models are: {', '.join(ZOO)}.")
    if not names:
        raise ParameterError(f"No model given. The models are: {', '.join(ZOO)}.")
    return tuple(name for name in ZOO if name in names)


def _folds(value: Any) -> tuple[int, ...]:
    valid = ", ".join(map(str, FOLDS))
    folds = set()
    for item in _items(value):
        if not item.isdigit() or int(item) not in FOLDS:
            raise ParameterError(f"Unknown fold {item!r}: the folds are {valid}.")
        folds.add(int(item))
    if not folds:
        raise ParameterError(f"No fold given: the folds are {valid}.")
    return tuple(sorted(folds))
