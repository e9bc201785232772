"""Images of modality CT whose pixels are not HU."""

import pytest
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from rsna19_kedro.dicom.image_kind import derived_doubt, why_not_hu

PLAIN = (str(CTImageStorage), "ORIGINAL\\PRIMARY\\AXIAL", "HU", 16, "BRAIN 5mm")


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, str(SecondaryCaptureImageStorage), "secondary capture"),
        (0, "1.2.840.10008.5.1.4.1.1.7.2", "secondary capture"),  # Multi-frame.
        # ImageType, value 3: PS3.3 C.8.2.1.1.1 and vendor-specific values.
        (1, "ORIGINAL\\PRIMARY\\LOCALIZER", "a localizer"),
        (1, "DERIVED\\SECONDARY\\SCREEN SAVE", "screen capture"),  # GE
        (1, "DERIVED\\SECONDARY\\OTHER\\DOSE_INFO", "dose report"),
        (1, "DERIVED\\SECONDARY\\PROJECTION IMAGE", "projection"),
        (1, "DERIVED\\SECONDARY\\MIP", "maximum intensity"),
        (1, "DERIVED\\SECONDARY\\AXIAL\\CSA MIP\\MINIP", "intensity projection"),
        (1, "DERIVED\\SECONDARY\\CBF", "perfusion map"),
        (1, "DERIVED\\PRIMARY\\AXIAL\\DE_IODINE", "iodine map"),
        # RescaleType: defined terms of PS3.3 C.11.1.1.2.
        (2, "Z_EFF", "effective atomic number"),
        (2, "EDW", "electron density"),
        (2, "ED", "electron density"),
        (2, "MGML", "material density"),
        (2, "PCT", "percent"),
        (2, "HU_MOD", "modified HU"),
        (3, 8, "8 bits"),
        (4, "Topogram 0.6 T20s", "a localizer"),
        (4, "Calcium(Water) 70 keV", "calcium map"),  # GE Gemstone Spectral Imaging
        (4, "Dose Report", "dose report"),
    ],
)
def test_images_without_hu_are_detected(index: int, value: object, reason: str) -> None:
    attributes = list(PLAIN)
    attributes[index] = value
    assert reason in why_not_hu(*attributes)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, str(CTImageStorage)),
        (1, ""),
        (1, "DERIVED\\SECONDARY\\AXIAL"),  # A usable reformat.
        (1, "DERIVED\\PRIMARY\\AXIAL\\AVERAGE"),
        (2, ""),
        (2, "US"),  # Unspecified.
        (3, 0),
        (3, 12),
        (4, "CT HEAD 5mm"),
    ],
)
def test_images_that_may_have_hu_pass(index: int, value: object) -> None:
    attributes = list(PLAIN)
    attributes[index] = value
    assert not why_not_hu(*attributes)


def test_derived_images_raise_doubt() -> None:
    assert derived_doubt("DERIVED\\SECONDARY\\AXIAL", "") == "derived images"
    assert derived_doubt("ORIGINAL\\PRIMARY\\AXIAL", "YES") == "text is burned into its images"
    assert not derived_doubt("ORIGINAL\\PRIMARY\\AXIAL", "NO")
