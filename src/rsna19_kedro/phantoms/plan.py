"""Plan of a set of phantoms: studies, patients and acquisitions."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from rsna19_kedro.phantoms.dicom_writer import PIXELS, Pixels, StudyHeader
from rsna19_kedro.phantoms.lesions import KINDS
from rsna19_kedro.strict import Strict

Layout = Annotated[Literal["today", "2019"], BeforeValidator(str)]  # --params parses 2019.
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

FOLDERS: Final = {
    "today": {"train": "stage_2_train", "test": "stage_2_train", "test2": "stage_2_test"},
    "2019": {
        "train": "stage_1_train_images",
        "test": "stage_1_test_images",
        "test2": "stage_2_test_images",
    },
}
"""Folder of each subset (stage-1 train, stage-1 test, stage-2 test) per layout."""

_SLOTS: Final = 128
_ID_SPACE: Final = 1 << 36


class PhantomSet(Strict):
    """A set of synthetic studies.

    Attributes:
        seed: Random seed.
        train_studies: Number of labelled studies.
        test_studies: Number of studies of the stage-2 test.
        studies_per_patient: Mean number of studies per patient (RSNA: 1.14).
        slices: Smallest and largest number of slices per study, at most 127.
        size_px: Rows and columns.
        pixel_spacing_mm: Smallest and largest pixel spacing.
        layout: Folders and CSVs of Kaggle's current download (``today``) or that of ``2019``.
        stage_1_test_fraction: Fraction of the labelled studies in the stage-1 test (layout 2019).
        positive_fraction: Fraction of the studies with haemorrhage.
        small_fraction: Fraction of the main haemorrhages that are small; additional haemorrhages
            are small twice as often.
        masked_fraction: Fraction of the labelled studies with a mask file.
        tilted_fraction: Fraction of the studies with gantry tilt.
        uneven_fraction: Fraction of the studies with two slice distances (they have no mask).
        noise_hu: Smallest and largest standard deviation of the noise (see ``Acquisition``).
        lowest_mm: Range of the lowest slice's height above the middle of the head. The skull base
            ends near -60; many RSNA studies also show the face and the first vertebrae.
    """

    seed: Annotated[int, Field(ge=0)] = 2019
    train_studies: Annotated[int, Field(ge=1)] = 100
    test_studies: Annotated[int, Field(ge=0)] = 10
    studies_per_patient: Annotated[float, Field(ge=1)] = 1.15
    slices: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(le=127)]] = (20, 32)
    size_px: Annotated[int, Field(ge=32, le=1024)] = 512
    pixel_spacing_mm: tuple[Positive, Positive] = (0.43, 0.49)
    layout: Layout = "today"
    stage_1_test_fraction: Fraction = 0.12
    positive_fraction: Fraction = 0.5
    small_fraction: Fraction = 0.34
    masked_fraction: Fraction = 0.2
    tilted_fraction: Fraction = 0.55
    uneven_fraction: Fraction = 0.2
    noise_hu: tuple[NotNegative, NotNegative] = (5.5, 7.5)
    lowest_mm: tuple[float, float] = (-62.0, -46.0)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("slices", "pixel_spacing_mm", "noise_hu", "lowest_mm"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]: the smaller number comes first")
        return self


@dataclass(frozen=True)
class StudyPlan:
    """One study of a set.

    Attributes:
        index: Number of the study.
        person: Number of the patient; the same person has the same head.
        subset: ``train``, ``test`` (of stage 1) or ``test2``.
        header: IDs and storage format.
        kinds: Haemorrhage types, the main one first; empty for a normal study.
        small: Whether the main haemorrhage is small.
        tilted: Whether the gantry is tilted.
        uneven: Whether there are two slice distances.
        masked: Whether there is a mask file.
    """

    index: int
    person: int
    subset: str
    header: StudyHeader
    kinds: tuple[str, ...]
    small: bool
    tilted: bool
    uneven: bool
    masked: bool


def plan_studies(what: PhantomSet) -> list[StudyPlan]:
    """Plan every study of a set.

    Fractions are met as closely as whole studies allow, not by chance, so that small sets contain
    all kinds of studies; the haemorrhage types alternate.
    """
    rng = np.random.default_rng((what.seed, 0))
    total = what.train_studies + what.test_studies
    people = _people(rng, total, what.studies_per_patient)
    subsets = _subsets(rng, what)
    positive = _some(rng, total, what.positive_fraction)
    kinds = _kinds(rng, positive)
    main_small = iter(_some(rng, sum(positive), what.small_fraction))
    small = [bleeds and next(main_small) for bleeds in positive]
    tilted = _some(rng, total, what.tilted_fraction)
    uneven = _some(rng, total, what.uneven_fraction)
    wanted = round(what.masked_fraction * what.train_studies)
    even = [i for i in range(what.train_studies) if not uneven[i]]
    # Most masks belong to studies with haemorrhage (docs/reference.md#dataset-files).
    even.sort(key=lambda i: (not kinds[i], rng.uniform()))
    masked = set(even[:wanted])
    storage = [PIXELS[i % 2] for i in rng.permutation(total)]
    plans = []
    for i in range(total):
        pixels: Pixels = storage[i]
        if pixels == "unsigned" and rng.uniform() < 0.3:
            pixels = "wrapped"
        header = StudyHeader(
            study_id=_identity(what.seed, 1, i, 10),
            series_id=_identity(what.seed, 2, i, 10),
            patient_id=_identity(what.seed, 3, people[i], 8),
            pixels=pixels,
            implicit_vr=bool(rng.uniform() < 0.5),
            two_windows=bool(rng.uniform() < 0.3),
        )
        plans.append(
            StudyPlan(
                index=i,
                person=people[i],
                subset=subsets[i],
                header=header,
                kinds=kinds[i],
                small=small[i],
                tilted=tilted[i],
                uneven=uneven[i],
                masked=i in masked,
            )
        )
    return plans


def slice_uids(what: PhantomSet, plan: StudyPlan, slices: int) -> list[str]:
    """Return the SOPInstanceUIDs of a study: nine hexadecimal digits, unordered and unique.

    Multiplication by an odd number modulo a power of two maps every slice to a different number.
    """
    start = int(np.random.default_rng((what.seed, 4)).integers(_ID_SPACE))
    numbers = (plan.index * _SLOTS + np.arange(slices, dtype=object) + start) * 0x9E3779B97
    return [f"ID_{int(number) % _ID_SPACE:09x}" for number in numbers]


def _identity(seed: int, kind: int, number: int, digits: int) -> str:
    drawn = np.random.default_rng((seed, 5, kind, number)).integers(16**digits)
    return f"ID_{int(drawn):0{digits}x}"


def _people(rng: np.random.Generator, total: int, mean: float) -> list[int]:
    """Assign a person to every study; further studies belong to random earlier patients."""
    patients = max(1, min(total, round(total / mean)))
    repeated = rng.integers(patients, size=total - patients)
    return [int(value) for value in rng.permutation([*range(patients), *repeated])]


def _subsets(rng: np.random.Generator, what: PhantomSet) -> list[str]:
    stage_1_test = _some(rng, what.train_studies, what.stage_1_test_fraction)
    is_2019 = what.layout == "2019"
    labelled = ["test" if is_test and is_2019 else "train" for is_test in stage_1_test]
    return labelled + ["test2"] * what.test_studies


def _some(rng: np.random.Generator, total: int, fraction: float) -> list[bool]:
    chosen = np.arange(total) < round(fraction * total)
    return [bool(value) for value in rng.permutation(chosen)]


def _kinds(rng: np.random.Generator, positive: list[bool]) -> list[tuple[str, ...]]:
    """Draw the types of each study: the main type in turn, then up to two others."""
    turns = (*KINDS, "intraparenchymal", "epidural")  # Types that are short along z occur twice.
    turn = int(rng.integers(len(turns)))
    drawn: list[tuple[str, ...]] = []
    for bleeds in positive:
        if not bleeds:
            drawn.append(())
            continue
        first = turns[turn % len(turns)]
        turn += 1
        more = int(rng.choice(3, p=(0.25, 0.45, 0.30)))
        others = [name for name in KINDS if name != first]
        drawn.append((first, *(str(n) for n in rng.choice(others, size=more, replace=False))))
    return drawn
