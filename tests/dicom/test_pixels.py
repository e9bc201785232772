from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_factory import write_slice
from rsna19_kedro.dicom.pixels import is_wrapped, read_hu, to_hu
from rsna19_kedro.errors import InputError


def rescaled(stored: list[int], bits: int, signed: bool, intercept: float) -> list[int]:
    dtype = np.int16 if signed else np.uint16
    pixels = np.array([stored], dtype=dtype)
    hu = to_hu(pixels, bits_stored=bits, signed=signed, slope=1.0, intercept=intercept)
    assert hu.dtype == np.int16
    return list(hu[0])


def test_wrapped_12_bit_values_are_unwrapped() -> None:
    assert rescaled([3096, 4095, 40, 0], 12, False, 0) == [-1000, -1, 40, 0]


@given(st.integers(-1000, 3095))
def test_unwrapping_undoes_the_wrap_around(hu: int) -> None:
    assert rescaled([hu % 4096], 12, False, 0) == [hu]


@pytest.mark.parametrize(
    ("bits", "signed", "intercept"),
    [(12, False, -1024), (12, False, -100), (12, True, 0), (16, False, 0), (16, True, -1000)],
)
def test_files_that_are_not_wrapped_are_unchanged(
    bits: int, signed: bool, intercept: float
) -> None:
    assert not is_wrapped(bits_stored=bits, signed=signed, intercept=intercept)
    expected = [int(value + intercept) for value in (0, 40, 2000)]
    assert rescaled([0, 40, 2000], bits, signed, intercept) == expected


def test_hu_outside_16_bits_are_clipped_and_fractions_rounded() -> None:
    pixels = np.array([[65535, 1000, 3]], dtype=np.uint16)
    hu = to_hu(pixels, bits_stored=16, signed=False, slope=1.0, intercept=-1024)
    assert list(hu[0]) == [32767, -24, -1021]
    hu = to_hu(pixels, bits_stored=16, signed=False, slope=0.5, intercept=-10.25)
    assert list(hu[0]) == [32757, 490, -9]


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
)
@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (False, 12)])
def test_every_lossless_syntax_gives_the_same_hu(
    tmp_path: Path, syntax: str, signed: bool, bits: int
) -> None:
    hu = np.arange(-1000, 1000).repeat(2)[: 64 * 48].reshape(64, 48)[::-1, ::-1]
    path = write_slice(
        tmp_path / "slice.dcm", pixels=hu + 1024, signed=signed, bits_stored=bits, syntax=syntax
    )
    np.testing.assert_array_equal(read_hu(path), hu)


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    pixels = np.full((8, 6), 1064)
    path = write_slice(tmp_path / "bare", pixels=pixels, preamble=False)
    np.testing.assert_array_equal(read_hu(path), np.full((8, 6), 40))


def test_missing_rescale_means_values_are_hu(tmp_path: Path) -> None:
    path = write_slice(
        tmp_path / "a.dcm", pixels=np.full((4, 4), 7), drop=("RescaleSlope", "RescaleIntercept")
    )
    assert (read_hu(path) == 7).all()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("CT_small.dcm", 128 - 1024, 2191 - 1024),
        ("J2K_pixelrep_mismatch.dcm", -2000, 1896),
        ("JPEG2000.dcm", -30, 245),
    ],
)
def test_pydicom_test_files_are_read(name: str, low: int, high: int) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    hu = read_hu(path)
    assert (hu.min(), hu.max()) == (low, high)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_pydicom_slice_is_the_same_in_every_syntax(name: str) -> None:
    plain = read_hu(Path(str(get_testdata_file("MR_small.dcm", download=False))))
    other = read_hu(Path(str(get_testdata_file(name, download=False))))
    np.testing.assert_array_equal(other, plain)
    assert plain.std() > 100


def test_12_bit_jpeg_is_decoded() -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm", download=False)))
    stored = pydicom.dcmread(path).pixel_array
    assert (stored.min(), stored.max()) == (0, 264)
    # Unsigned, 12 bits, no intercept: treated as wrapped, although no value is below zero.
    np.testing.assert_array_equal(read_hu(path), stored)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MR_truncated.dcm", r"MR_truncated\.dcm cannot be decoded.*64 x 64"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "cannot be decoded"),
        ("SC_rgb_rle.dcm", "3 samples"),
        ("examples_palette.dcm", "PALETTE COLOR"),
        ("rtdose.dcm", "15 frames"),
        ("rtplan.dcm", "no pixel data"),
    ],
)
def test_files_other_than_one_intact_slice_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_hu(Path(str(get_testdata_file(name, download=False))))


def test_errors_name_truncated_missing_and_other_files(tmp_path: Path) -> None:
    cut = write_slice(tmp_path / "cut.dcm", shape=(16, 16), pixel_bytes=100)
    with pytest.raises(InputError, match=r"cut\.dcm cannot be decoded.*16 x 16"):
        read_hu(cut)
    with pytest.raises(InputError, match=r"none\.dcm"):
        read_hu(tmp_path / "none.dcm")
    (tmp_path / "notes.dcm").write_text("not an image")
    with pytest.raises(InputError, match=r"notes\.dcm"):
        read_hu(tmp_path / "notes.dcm")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("J2KR", 0), ("JLSL", 0), ("JPLL", 0), ("RLE", 0), ("JLSN", 5), ("J2KI", 600)],
)
def test_real_slice_is_the_same_in_every_syntax(open_ct: Path, name: str, tolerance: int) -> None:
    folder = open_ct / "transfer_syntaxes"
    plain = read_hu(folder / "CT2_UNC").astype(int)
    difference = np.abs(read_hu(folder / f"CT2_{name}").astype(int) - plain)
    assert difference.max() <= tolerance  # JPEG-LS near-lossless with 5; J2KI is lossy.
    assert np.median(difference) <= 10


def test_unused_bits_are_ignored(tmp_path) -> None:
    hu = np.array([[-1000, -1, 0], [40, 900, 2000]])
    signed = (hu & 0x0FFF).astype(np.uint16).view(np.int16)  # Unused bits are 0.
    path = write_slice(tmp_path / "a.dcm", pixels=signed, bits_stored=12, intercept=0)
    np.testing.assert_array_equal(read_hu(path), hu)
    overlay = (hu + 1024) | 0x8000 | 0x1000  # An overlay in unused bits.
    path = write_slice(tmp_path / "b.dcm", pixels=overlay, bits_stored=12, signed=False)
    np.testing.assert_array_equal(read_hu(path), hu)
    high = ((hu + 1024) << 4) | 0x000F
    change = {"HighBit": 15}
    path = write_slice(tmp_path / "c.dcm", pixels=high, bits_stored=12, signed=False, change=change)
    np.testing.assert_array_equal(read_hu(path), hu)


def test_unsigned_values_declared_as_signed(tmp_path) -> None:
    """With an intercept of -1024, bone stays bone if 12 bits are declared as signed."""
    hu = np.array([[-1024, 0, 1500], [40, 900, 3000]])
    path = write_slice(tmp_path / "a.dcm", pixels=hu + 1024, bits_stored=12)
    np.testing.assert_array_equal(read_hu(path), hu)


@pytest.mark.parametrize(
    ("padding", "change"),
    [
        (63536, {"PixelPaddingValue": 63536}),
        (0, {"PixelPaddingValue": 0}),
        (1030, {"PixelPaddingValue": 1024, "PixelPaddingRangeLimit": 1034}),
    ],
)
def test_padding_becomes_air_and_tissue_of_the_same_value_stays(tmp_path, padding, change) -> None:
    """Pixels with the padding value are padding only if connected to the edge."""
    stored = np.full((12, 12), 1064)
    stored[:, :3] = padding
    stored[6, 6] = 1030
    path = write_slice(tmp_path / "a.dcm", pixels=stored, signed=False, change=change)
    hu = read_hu(path)
    assert (hu[:, :3] == -1024).all()
    assert hu[6, 6] == 6
    assert (np.delete(hu[:, 3:].ravel(), 6 * 9 + 3) == 40).all()


def test_a_negative_padding_value_in_an_unsigned_attribute(tmp_path) -> None:
    stored = np.full((8, 8), 40)
    stored[0] = -2000
    path = write_slice(
        tmp_path / "a.dcm", pixels=stored, intercept=0, change={"PixelPaddingValue": -2000}
    )
    assert (read_hu(path)[0] == -1024).all()


@pytest.mark.parametrize("text", ["-1000,0", "-1000.0", "-1.000E+03", " -1000 "])
def test_spellings_of_a_number(tmp_path, text: str) -> None:
    path = write_slice(tmp_path / "a.dcm", intercept=-1000)
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x52\x10DS")
    size = int.from_bytes(content[at + 6 : at + 8], "little")
    value = text.encode() + b" " * (len(text) % 2)
    spelt = content[: at + 6] + len(value).to_bytes(2, "little") + value
    (tmp_path / "b.dcm").write_bytes(spelt + content[at + 8 + size :])
    np.testing.assert_array_equal(read_hu(tmp_path / "b.dcm"), read_hu(path))
