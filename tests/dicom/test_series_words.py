"""Meaning of descriptions, kernels and body parts; each row tests a different word."""

import pytest

from rsna19_kedro.dicom.kernels import Kernel, kernel_of
from rsna19_kedro.dicom.series_words import (
    Contrast,
    Region,
    contrast_in_text,
    contrast_of,
    region_of,
)

ABSENT, GIVEN, DOUBTFUL, UNKNOWN = (
    Contrast.ABSENT,
    Contrast.GIVEN,
    Contrast.DOUBTFUL,
    Contrast.UNKNOWN,
)

DESCRIPTIONS = [
    # CQ500 data set (Chilamkurthy et al. 2018), names of series.
    ("CT PRE CONTRAST 5MM STD", ABSENT),
    ("CT Plain THIN", ABSENT),
    ("POST CONTRAST 5MM", GIVEN),
    # RadLex Playbook (RSNA), names of examinations.
    ("CT HEAD WO IVCON", ABSENT),
    ("CT HEAD W IV", GIVEN),
    ("CT HEAD W/O & W/ CONTRAST", DOUBTFUL),
    ("CT ANGIO HEAD", GIVEN),
    ("CT PERFUSION HEAD", GIVEN),
    ("CTV HEAD 1.0", GIVEN),
    # notmatthancock/pylidc issue 35.
    ("HEAD WITHOUT", ABSENT),
    # LOINC display names, "CT Head WO contr" and "W contr".
    ("Head non-contr", ABSENT),
    ("Head contrast", GIVEN),
    # Siemens syngo.CT protocol names: 05_CTA_Carotis, PreMonitoring, HeadNeuro.
    ("05_CTA_1.0", GIVEN),
    ("Karotis 0.75 Hr36", GIVEN),
    ("Bolus 10.0", GIVEN),
    # Notation of GE protocols and French and Spanish departments: C-, C+, +C, s/c, c/c.
    ("BRAIN C- 5mm", ABSENT),
    ("BRAIN C+ 5mm", GIVEN),
    ("AX +IV", GIVEN),
    ("CRANEO S/C", ABSENT),
    # German: nativ, ohne KM, nach KM.
    ("CCT nativ 5.0", ABSENT),
    ("Schädel ohne KM", ABSENT),
    ("Schaedel mit KM", GIVEN),
    # French: sans injection, injecté.
    ("Crâne sans injection", ABSENT),
    ("Encéphale injecté", GIVEN),
    # Italian: senza mdc, con mdc, basale.
    ("Encefalo senza mdc", ABSENT),
    ("Encefalo mdc", GIVEN),
    # Spanish, Portuguese, Polish, Dutch.
    ("Cráneo sin contraste", ABSENT),
    ("Cranio sem contraste", ABSENT),
    ("Głowa bez kontrastu", ABSENT),
    ("Schedel blanco", ABSENT),
    ("Голова без", ABSENT),
    ("Голова контраст", GIVEN),
    ("头颅平扫", ABSENT),
    ("头颅增强", GIVEN),
    # Abbreviations of Epic and Cerner orders: W, WO, W/C, WOC, W CON.
    ("HEAD W/", GIVEN),
    ("HEAD W/C", GIVEN),
    ("HEAD WITH C-SPINE", UNKNOWN),
    ("HEAD WOC", ABSENT),
    ("HEAD NON C", ABSENT),
    ("HEAD WITH & WITHOUT", DOUBTFUL),
    ("HEAD INFUSED", GIVEN),
    ("un-enhanced", ABSENT),
    # Radiology reports: NCCT (AHA/ASA stroke guideline 2019), unenhanced, delayed, COW.
    ("NCCT 5mm", ABSENT),
    ("Unenhanced brain", ABSENT),
    ("Delayed 5mm", GIVEN),
    ("COW 0.625", GIVEN),
    ("Enhanced brain", GIVEN),
    ("CECT brain", GIVEN),
    ("Arterial phase", GIVEN),
    ("Omnipaque 5mm", GIVEN),
    # "post" and "pre" in other contexts.
    ("POST FOSSA 2.5mm", UNKNOWN),
    ("Post op day 1", UNKNOWN),
    ("POST 24h", UNKNOWN),
    ("HEAD POST", GIVEN),
    # C-spine is not C-.
    ("HEAD C-SPINE", UNKNOWN),
    ("HEAD+C-SPINE", UNKNOWN),
    ("SERIES NO 3", UNKNOWN),
    ("Brain 5.0 H31s", UNKNOWN),
    ("", UNKNOWN),
]


@pytest.mark.parametrize(("text", "expected"), DESCRIPTIONS)
def test_contrast_in_descriptions(text: str, expected: Contrast) -> None:
    assert contrast_in_text(text) is expected


@pytest.mark.parametrize(
    ("agent", "volume_ml", "description", "others", "expected"),
    [
        # ContrastBolusAgent is free text (PS3.3 C.7.6.4): "NONE" of som-shahlab/INSPECT issue 12.
        ("NONE", None, "BRAIN", (), ABSENT),
        ("No contrast", None, "", (), ABSENT),
        ("W/O", None, "", (), ABSENT),
        ("n/a", None, "", (), ABSENT),
        ("-", None, "", (), UNKNOWN),
        ("Oral", None, "", (), ABSENT),
        ("IOHEXOL 350", None, "BRAIN", (), GIVEN),
        ("APPLIED", None, "BRAIN", (), GIVEN),
        ("100 ml", None, "", (), GIVEN),
        ("Ultravist", 0.0, "", (), DOUBTFUL),
        ("", 80.0, "BRAIN", (), GIVEN),
        ("Isovue", None, "BRAIN W/O", (), DOUBTFUL),
        ("NONE", None, "CTA HEAD", (), DOUBTFUL),
        # Names of the whole examination only raise doubt: it also has a plain phase.
        ("", None, "5mm STD", ("CTA HEAD",), DOUBTFUL),
        ("", None, "5mm STD", ("HEAD W/O",), UNKNOWN),
        ("", None, "HEAD W/O", ("CTA HEAD",), ABSENT),
    ],
)
def test_contrast_by_all_attributes(agent, volume_ml, description, others, expected) -> None:
    assert contrast_of(agent, volume_ml, description, others) is expected


SOFT, MEDIUM, SHARP = Kernel.SOFT, Kernel.MEDIUM, Kernel.SHARP

KERNELS = [
    # Siemens: DICOM conformance statements of SOMATOM; [family][type][sharpness][options].
    ("H31s", SOFT),
    ("B30f", SOFT),
    ("J40s\\2", SOFT),
    ("I70h\\3", SHARP),
    ("Hr40f\\3", SOFT),
    ("Hr64h\\3", SHARP),
    ("Hc56s", MEDIUM),
    ("Qr69d", SHARP),
    ("Br36f", SOFT),
    ("Bl49d", SHARP),  # Lung.
    ("U90u", SHARP),
    ("T20s", SOFT),
    # GE: Revolution and LightSpeed conformance statements.
    ("SOFT", SOFT),
    ("STANDARD", SOFT),
    ("DETAIL", MEDIUM),
    ("BONEPLUS", SHARP),
    ("EDGE", SHARP),
    ("LUNG", SHARP),
    ("ULTRA", SHARP),
    # Philips: Brilliance and IQon conformance statements, neurolabusc/dcm_qa_ct.
    ("UB", SOFT),
    ("UC", MEDIUM),
    ("YA", SHARP),
    ("D", SHARP),
    ("Brain Smooth (UA)", SOFT),
    ("B", SOFT),
    ("E", SHARP),
    # Canon (Toshiba): Aquilion conformance statements; FC30s and FC80s bone, FC50s lung.
    ("FC26", SOFT),
    ("FC68", SOFT),
    ("FC30", SHARP),
    ("FC51", SHARP),
    ("FC81", SHARP),
    # United Imaging: uCT conformance statement.
    ("H_VSOFT_B", SOFT),
    ("H_SHARP_C", SHARP),
    ("B_VSHARP_A", SHARP),
    ("", None),
    ("unheard of", None),
]


@pytest.mark.parametrize(("kernel", "expected"), KERNELS)
def test_kernels(kernel: str, expected: Kernel | None) -> None:
    assert kernel_of(kernel) is expected


@pytest.mark.parametrize(
    ("kernel", "description", "expected"),
    [
        ("", "HEAD BONE 2.0", SHARP),
        ("", "Knochenfenster 1.0", SHARP),
        ("", "Head 5.0 H60s", SHARP),
        ("", "AX BRAIN", SOFT),
        ("", "Head 5.0 FC21", SOFT),
        ("", "rocher osseux", SHARP),
        ("H30s", "HEAD BONE", SOFT),  # A bone window of a soft-tissue reconstruction.
    ],
)
def test_kernel_takes_precedence_over_the_description(kernel, description, expected) -> None:
    assert kernel_of(kernel, description) is expected


HEAD, OTHER = Region.HEAD, Region.OTHER

REGIONS = [
    # Defined terms of BodyPartExamined: PS3.16 annex L.
    ("HEAD", "", (), HEAD),
    ("HEADNECK", "5.0 MM", (), HEAD),
    ("BRAIN", "STD", (), HEAD),
    ("SKULL", "5mm", (), HEAD),
    ("CHEST", "", (), OTHER),
    ("ABDOMEN", "5mm STD", (), OTHER),
    ("CSPINE", "", (), OTHER),
    # BodyPartExamined of a protocol remains if the protocol is used for another body part.
    ("CHEST", "BRAIN 5mm", (), Region.DOUBTFUL),
    ("", "HEAD/C-SPINE", (), HEAD),
    ("HEAD", "C-SPINE BONE", (), Region.DOUBTFUL),
    ("EXTREMITY", "5.0", ("Neuro trauma",), Region.DOUBTFUL),
    # Words inside other words: "hip" in Philips, "lung" in Beurteilung.
    ("", "Philips CT", (), Region.UNKNOWN),
    ("", "Zur Beurteilung", (), Region.UNKNOWN),
    # Other languages: Schädel, crâne, hoofd.
    ("", "Schädel 5.0", (), HEAD),
    ("", "Crâne 5mm", (), HEAD),
    ("", "Hoofd", (), HEAD),
    ("", "Thorax 5.0 B31f", (), OTHER),
    ("", "LWS 2.0", (), OTHER),
    ("", "Knee left", (), OTHER),
    # Parts of the head may not show the whole brain.
    ("", "Sinus 2.0", (), Region.DOUBTFUL),
    ("ORBIT", "", (), Region.DOUBTFUL),
    ("", "2.0", ("Abdomen routine",), Region.DOUBTFUL),
    ("", "2.0", ("Stroke",), HEAD),
    ("", "", (), Region.UNKNOWN),
]


@pytest.mark.parametrize(("body_part", "description", "others", "expected"), REGIONS)
def test_regions(body_part: str, description: str, others: tuple, expected: Region) -> None:
    assert region_of(body_part, description, others) is expected
