"""Synthetic head CT (phantoms) with known labels and masks."""

from rsna19_kedro.phantoms.generate import build_study, replace_phantoms, write_phantoms
from rsna19_kedro.phantoms.head import Head, Spot, Swelling, make_head
from rsna19_kedro.phantoms.lesions import (
    Epidural,
    Intraparenchymal,
    Intraventricular,
    Lesion,
    Subarachnoid,
    Subdural,
)
from rsna19_kedro.phantoms.placing import add_bruises, add_haemorrhages
from rsna19_kedro.phantoms.plan import PhantomSet, StudyPlan, plan_studies
from rsna19_kedro.phantoms.sampling import sample_hu, sample_mask
from rsna19_kedro.phantoms.scan import Acquisition, Scan, acquire

__all__ = [
    "Acquisition",
    "Epidural",
    "Head",
    "Intraparenchymal",
    "Intraventricular",
    "Lesion",
    "PhantomSet",
    "Scan",
    "Spot",
    "StudyPlan",
    "Subarachnoid",
    "Subdural",
    "Swelling",
    "acquire",
    "add_bruises",
    "add_haemorrhages",
    "build_study",
    "make_head",
    "plan_studies",
    "replace_phantoms",
    "sample_hu",
    "sample_mask",
    "write_phantoms",
]
