"""Prediction of new studies by the public detector, alone or averaged with other models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.detector.detector import Detector
from rsna19_kedro.detector.release import NAME as DETECTOR
from rsna19_kedro.detector.release import Release, find_release
from rsna19_kedro.detector.slice_input import fit_of
from rsna19_kedro.dicom.result_sources import HeatPlace
from rsna19_kedro.networks.training_data import Band
from rsna19_kedro.prediction.engine import HALF, find_device, find_precision
from rsna19_kedro.prediction.heat import heat_of_native
from rsna19_kedro.prediction.members import Member, find_members
from rsna19_kedro.prediction.new_study import SPREAD, StudyResult, predict_prepared
from rsna19_kedro.prediction.settings import PRECISIONS, PredictionSettings


def detect_prepared(
    native: VolumeStore,
    volumes: VolumeStore,
    names: Sequence[str],
    release: Release,
    settings: PredictionSettings,
    *,
    on_share: Callable[[float], object] = lambda _: None,
) -> Iterator[StudyResult]:
    """Predict prepared studies with the public detector.

    Args:
        native: Their native slices.
        volumes: Their prepared volumes, whose records say where the native slices lie.
        names: Studies of both stores.
        release: Files of the detector.
        settings: Settings of the device.
        on_share: Called after each batch with its share of the study.

    Yields:
        One result per study, in the order of the names. ``study`` is the detector's prediction of
        the series, not the maximum over its slices.
    """
    precision = find_precision(settings)
    detector = Detector.load(release, find_device(settings), HALF.get(precision))
    for name in names:
        hu, side = native.read(name), volumes.shape(name)[-1]
        found = detector.predict(list(hu), on_share)
        record = volumes.meta(name)["record"]
        assert isinstance(record, dict)
        first_px = HeatPlace.from_record(record, side).first_px
        heat = heat_of_native(found.maps, fit_of(*hu.shape[1:]), first_px, side)
        columns: dict[str, Any] = {"slice_num": np.arange(len(hu))}
        columns |= dict(zip(PREDICTIONS, found.slices.T, strict=True))
        columns |= dict.fromkeys(SPREAD, np.float32(np.nan))
        yield StudyResult(
            name,
            pd.DataFrame(columns),
            dict(zip(CLASSES, found.series.tolist(), strict=True)),
            heat.astype(np.float16),
            release.title,
            (release.title,),
            Band("random weights" if release.random else "real", release.about),
            PRECISIONS[precision],
            "the detector's own prediction of the series, which can be lower than that of a slice",
        )


@dataclass(frozen=True)
class Predictors:
    """The networks of a prediction of new studies.

    Attributes:
        members: Trained models; empty for the detector alone.
        release: Files of the public detector; ``None`` without it.
    """

    members: tuple[Member, ...]
    release: Release | None = None

    @classmethod
    def find(
        cls,
        folder: Path,
        *,
        models: Sequence[str] | None = None,
        folds: Sequence[int] | None = None,
        fast: bool = False,
        packaged: bool = True,
        detector: str | Path | None = None,
        detector_revision: str | None = None,
        combine: str | None = None,
    ) -> Self:
        """Find checkpoints, and the detector if one is named; downloads it if necessary.

        Args:
            folder: See ``find_members``; downloads are kept in its subfolder ``detectors``.
            models: See ``find_members``, like the next three.
            folds: As above.
            fast: As above.
            packaged: As above; with a detector, the small model takes part only if it is named.
            detector: See ``find_release``, like the next one.
            detector_revision: As above.
            combine: ``mean`` averages the detector with the trained models.

        Raises:
            ModelError: See ``find_members`` and ``find_release``.
            ParameterError: As above.
        """
        if detector is None:
            return cls(tuple(find_members(folder, models, folds, fast, packaged=packaged)))
        release = find_release(str(detector), detector_revision, folder / "detectors")
        if combine is None:
            return cls((), release)
        return cls(tuple(find_members(folder, models, folds, fast, packaged=False)), release)

    def predict(
        self,
        volumes: VolumeStore,
        native: VolumeStore,
        names: Sequence[str],
        level2: Path | None,
        settings: PredictionSettings,
        *,
        one_variant: bool = False,
        report_summary: Path | None = None,
        on_progress: Callable[[str, float], object] = lambda _title, _studies: None,
    ) -> Iterator[StudyResult]:
        """Predict prepared studies, see ``predict_prepared`` and ``detect_prepared``.

        Args:
            volumes: Prepared volumes.
            native: Native slices; used only by the detector.
            names: Studies to predict.
            level2: See ``predict_prepared``, like the other options.
            settings: As above.
            one_variant: As above.
            report_summary: As above.
            on_progress: Called with the title of a network and the number of studies, or the
                share of one, that it has finished since the last call.

        Yields:
            One result per study, in the order of the names.
        """
        own = found = None
        if self.members:
            own = predict_prepared(
                volumes,
                names,
                self.members,
                level2,
                settings,
                one_variant=one_variant,
                report_summary=report_summary,
                on_study=lambda title: on_progress(title, 1.0),
            )
        if self.release is not None:
            found = detect_prepared(
                native,
                volumes,
                names,
                self.release,
                settings,
                on_share=lambda share: on_progress(DETECTOR, share),
            )
        if own is None or found is None:
            yield from own or found or ()
        else:
            yield from map(average, own, found)


def average(own: StudyResult, detected: StudyResult) -> StudyResult:
    """Average the probabilities and heatmaps of two predictions of one study.

    Returns:
        The mean of slice and of study probabilities; ``spread_*`` is the standard deviation of
        the two.
    """
    both = np.stack([result.slices[list(PREDICTIONS)].to_numpy() for result in (own, detected)])
    slices = own.slices[["slice_num"]].copy()
    slices[list(PREDICTIONS)], slices[list(SPREAD)] = both.mean(axis=0), both.std(axis=0)
    heat = detected.heat if own.heat is None else (own.heat + detected.heat) / 2
    if "random weights" in (kinds := {own.band.trained_on, detected.band.trained_on}):
        band = detected.band
    elif "synthetic" in kinds:
        band = replace(own.band, trained_on="partly synthetic")
    else:
        band = own.band
    if band is not detected.band:
        band = replace(band, text=f"{band.text}. {detected.band.text}")
    return StudyResult(
        own.study_id,
        slices,
        {name: (own.study[name] + detected.study[name]) / 2 for name in CLASSES},
        heat,
        f"mean of two: {own.method}; {detected.method}",
        (*own.members, *detected.members),
        band,
        own.precision,
        f"the mean of {own.study_rule} by trained models and {detected.study_rule}",
    )
