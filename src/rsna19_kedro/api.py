"""Prediction as a function, without Kedro: from an array or a path to a result object."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.crop import crop_head
from rsna19_kedro.ct.plausibility import check_head, check_hu
from rsna19_kedro.ct.slabs import SLAB_MM
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import CROP_PX, prepare_new_studies
from rsna19_kedro.errors import SourceError, counted
from rsna19_kedro.prediction.detected import Predictors
from rsna19_kedro.prediction.members import LEVEL2, warn_of_small_model
from rsna19_kedro.prediction.new_study import StudyResult
from rsna19_kedro.prediction.settings import PredictionSettings

CHECKPOINTS = Path("data/06_models")
_MIN_SIDE_PX = 64


def predict_study(
    source: np.ndarray | str | Path,
    checkpoints: str | Path = CHECKPOINTS,
    *,
    models: Sequence[str] | str | None = None,
    folds: Sequence[int] | int | None = None,
    fast: bool = False,
    settings: PredictionSettings | None = None,
    detector: str | Path | None = None,
    detector_revision: str | None = None,
    combine: Literal["mean"] | None = None,
) -> StudyResult:
    """Predict one study.

    Args:
        source: ``(S, H, W)`` in HU, axial slices from feet to head, rows from front to back,
            cropped round the head unless it is 400 x 400 already; or a folder, DICOM file, zip
            file or NIfTI file that holds one study.
        checkpoints: Folder with ``<model>/fold_<k>/checkpoint.safetensors``. If the default folder
            holds none, the small model of this package predicts, with a warning.
        models: Names of the models that take part; ``None`` for those of the second level, or for
            all trained ones if no second level is stored or some of its models are missing.
        folds: Folds that take part; ``None`` for all.
        fast: One model, one fold, no test-time augmentation.
        settings: Settings of the device.
        detector: Public detector that predicts instead of trained models: the folder of its
            files, or its name (docs/detector.md).
        detector_revision: Commit of its repository; required for its name.
        combine: ``mean`` averages the detector with the trained models.

    Returns:
        Probabilities per slice and study, spread, prepared slices and heatmaps.

    Raises:
        ModelError: No requested model is trained, or a checkpoint is damaged or of another
            version.
        SourceError: The source is missing, or does not hold exactly one predictable study.
        DamagedFileError: A file of the source cannot be read.
        ParameterError: The settings require a GPU that is not available, or more of its memory
            than available.

        All are ``InputError``; the message says what is wrong and what to do.
    """
    models = (models,) if isinstance(models, str) else models
    folds = (int(folds),) if isinstance(folds, int | np.integer) else folds
    if not isinstance(source, np.ndarray | str | Path):
        raise SourceError(f"A study is an array or a path, not a {type(source).__name__}.")
    predictors = Predictors.find(
        Path(checkpoints),
        models=models,
        folds=folds,
        fast=fast,
        packaged=Path(checkpoints) == CHECKPOINTS,
        detector=detector,
        detector_revision=detector_revision,
        combine=combine,
    )
    warn_of_small_model(predictors.members, Path(checkpoints), models)
    with tempfile.TemporaryDirectory(prefix="rsna19-") as folder:
        store, native = VolumeStore(Path(folder)), VolumeStore(Path(folder) / "native")
        if isinstance(source, np.ndarray):
            hu, record = _prepare_array(source)
            store.write("study", hu, {"record": record})
            if predictors.release is not None:
                native.write("study", np.clip(source, PADDING_HU, 32767).astype(np.int16), {})
            study_id = "study"
        else:
            findings = prepare_new_studies(
                Path(source).expanduser(),
                store,
                slab_mm=SLAB_MM if predictors.members else 0.0,
                native=native if predictors.release else None,
            ).findings
            studies = findings["studies"]
            failed = sum(study["failed"] is not None for study in studies)
            if len(studies) > 1 or failed:
                raise SourceError(
                    f"{source} holds {counted(len(studies) - failed, 'study', 'studies')} that "
                    f"can be predicted and {failed} that cannot; predict_study takes one. For "
                    "several studies: "
                    "kedro run --pipelines new_study --params source=PATH"
                )
            study_id = studies[0]["study_id"]
        (name,) = store.study_ids()
        level2 = None if fast else Path(checkpoints) / LEVEL2
        options = settings or PredictionSettings()
        (result,) = predictors.predict(store, native, [name], level2, options, one_variant=fast)
        return replace(result, study_id=study_id, hu=store.read(name))


def _prepare_array(hu: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Check an array, and crop it like a prepared study; the record locates the crop."""
    if hu.ndim != 3 or 0 in hu.shape or not np.issubdtype(hu.dtype, np.number):
        raise SourceError(f"A study is (slices, rows, columns) in HU, not {hu.dtype} {hu.shape}.")
    if min(hu.shape[1:]) < _MIN_SIDE_PX:
        raise SourceError(
            f"An array of shape {hu.shape} holds no axial head: the slices come first, then "
            "rows and columns."
        )
    if not np.isfinite(hu).all():
        raise SourceError("The array holds values that are not finite; expected HU.")
    try:
        check_hu(hu)
        check_head(hu, (np.nan, np.nan))
    except SourceError as error:
        raise SourceError(f"The array holds {error}") from error
    record = dict.fromkeys(("row_shifts_px", "col_shifts_px"), [0.0] * len(hu))
    if hu.shape[1:] == (CROP_PX, CROP_PX):
        centre = (CROP_PX // 2, CROP_PX // 2)
        prepared = np.clip(hu, PADDING_HU, 32767).astype(np.int16)  # Already prepared.
    else:
        prepared, centre = crop_head(np.clip(hu, -1024, 32767).astype(np.int16), CROP_PX)
    return prepared, record | {"crop_row": centre[0], "crop_col": centre[1]}
