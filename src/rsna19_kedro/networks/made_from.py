"""Record what a network was trained from, and refuse combinations that do not fit.

The record is in the metadata of a checkpoint and in ``DataFrame.attrs`` of a prediction table.
This module imports no torch.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import ModelError, counted
from rsna19_kedro.provenance.parameters import flatten

MADE_FROM: Final = "made_from"
"""Key of :func:`describe_training`."""

PATIENTS: Final = "training_patients"
"""Key of :func:`hashed_patients`."""

_DIGITS: Final = 16


def remedy() -> str:
    """The sentence that says how to update all results."""
    return f"Update all results: {kedro_run('--only-missing-outputs')}"


def describe_training(
    recipe: Mapping[str, Any],
    hu_lut: np.ndarray | None,
    labels: Mapping[str, pd.DataFrame],
    weights: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Describe a training so that it can be compared with others.

    Args:
        recipe: The recipe as plain values.
        hu_lut: ``(1401,)`` float32; ``None`` if windows replace it.
        labels: Complete label tables (all folds) by name: ``sop_instance_uid``, ``fold`` and six
            labels.
        weights: The trained weights.

    Returns:
        ``recipe`` (without the test-time augmentations, which do not change the weights), and
        SHA-256 digests ``hu_lut``, ``labels`` (by name) and ``weights``.
    """
    lut = None if hu_lut is None else np.asarray(hu_lut, np.float32).tobytes()
    return {
        "recipe": {key: value for key, value in recipe.items() if key != "variants"},
        "hu_lut": None if lut is None else hashlib.sha256(lut).hexdigest(),
        "labels": {name: digest_labels(table) for name, table in labels.items()},
        "weights": digest_weights(weights),
    }


def digest_weights(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def digest_labels(rows: pd.DataFrame) -> str:
    """SHA-256 of ``sop_instance_uid``, ``fold`` and the six labels, in any order of rows."""
    hashed = rows[["sop_instance_uid", "fold", *CLASSES]].sort_values("sop_instance_uid")
    hashed = hashed.astype(dict.fromkeys(("fold", *CLASSES), "int64"))
    return hashlib.sha256(hashed.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def hashed_patients(patients: Iterable[str], salt: str) -> dict[str, Any]:
    """Salted hashes of the patients that a network was trained on.

    They show whether a given patient is in the training data, and so whether a prediction of that
    patient is out-of-fold. Anyone who can guess a patient's identifier can check this, too.

    Args:
        patients: PatientID (0010,0020), in any order; repetitions are allowed.
        salt: Equal salts give equal hashes.
    """
    hashes = sorted(_hash(patient, salt) for patient in set(map(str, patients)))
    return {"salt": salt, "hashes": hashes}


def check_held_out(metadata: Mapping[str, Any], who: str, fold: int, rows: pd.DataFrame) -> None:
    """Refuse a checkpoint whose predictions would not be out-of-fold.

    Args:
        metadata: Metadata of the checkpoint.
        who: Name of the model, for the message.
        fold: Fold to predict.
        rows: Slices of that fold, with ``patient_id``.

    Raises:
        ModelError: The checkpoint is of another fold, or was trained on patients of this one.
    """
    trained_without = metadata.get("fold", fold)
    if trained_without != fold:
        raise ModelError(
            f"The checkpoint of {who} for fold {fold} is that of fold {trained_without}: it was "
            f"trained on the patients of fold {fold}. Replace it with the right file. {remedy()}"
        )
    recorded = metadata.get(PATIENTS)
    if recorded is None:  # A checkpoint of an earlier version.
        return
    known, patients = set(recorded["hashes"]), rows["patient_id"].astype(str).unique()
    shared = sum(_hash(patient, recorded["salt"]) in known for patient in patients)
    if shared:
        raise ModelError(
            f"{who}, fold {fold}: its checkpoint was trained on {shared} of the "
            f"{counted(len(patients), 'patient')} of fold {fold}, so its predictions would not "
            "be out-of-fold. The folds were changed after the training, or the checkpoint is of "
            f"another split. {remedy()}"
        )


def check_folds_alike(model: str, made_from: Mapping[int, Mapping[str, Any] | None]) -> None:
    """Refuse folds of one model that were not trained alike.

    Args:
        model: Name of the model.
        made_from: Record by fold; ``None`` for a fold without a record, which is not compared.

    Raises:
        ModelError: The folds differ; the message names the differences.
    """
    flat = {fold: _flat(made) for fold, made in made_from.items() if made is not None}
    if len(flat) < 2:
        return
    first, *others = flat
    for fold in others:
        names = flat[first].keys() | flat[fold].keys()
        differing = sorted(n for n in names if flat[first].get(n) != flat[fold].get(n))
        if differing:
            shown = "; ".join(
                f"{name} {_short(flat[first].get(name))} and {_short(flat[fold].get(name))}"
                for name in differing[:3]
            )
            raise ModelError(
                f"The folds of {model} were not trained alike: folds {first} and {fold} differ in "
                f"{shown}. {remedy()}"
            )


def check_models_fit(
    made_from: Iterable[Mapping[str, Any] | None], *, same_labels: bool = True
) -> None:
    """Refuse models that were trained with different look-up tables, folds or labels.

    Args:
        made_from: Record of each model and fold; ``None`` if there is none.
        same_labels: Whether folds and labels must agree, too.

    Raises:
        ModelError: The models differ; the message names the differences.
    """
    seen: dict[str, tuple[str, str]] = {}
    for made in made_from:
        if made is None:
            continue
        facts = {"look-up table (hu_lut)": made["hu_lut"]} if made["hu_lut"] else {}
        labels = made["labels"] if same_labels else {}
        facts |= {f"label table {name}": value for name, value in labels.items()}
        model = str(made["recipe"]["model"])
        for name, value in facts.items():
            before = seen.setdefault(name, (value, model))
            if before[0] != value:
                raise ModelError(
                    f"{before[1]} and {model} were trained with different versions of the {name}. "
                    f"{remedy()}"
                )


def _flat(made: Mapping[str, Any]) -> dict[str, str]:
    compared = {key: made[key] for key in ("recipe", "hu_lut", "labels")}
    leaves = flatten("", compared)
    # A key that an earlier version did not have equals null.
    return {
        name.removeprefix("."): json.dumps(value)
        for name, value in leaves.items()
        if value is not None
    }


def _short(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) < 40 else f'{value[:9]}..."'


def _hash(patient: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}|{patient}".encode()).hexdigest()[:_DIGITS]
