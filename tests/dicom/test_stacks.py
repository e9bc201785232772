"""Series with more than one stack of slices, or with stray images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dicom_factory import AXIAL, small_head, tilted, write_slice
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import choose_slices, headers_table, number_chosen

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def _write(folder: Path, name: str, z_mm, *, orientation=AXIAL, drop=(), numbers=None, **change):
    """Write slices of one series, named ``<name>_<number>``."""
    for number, z in enumerate(z_mm):
        where = {"InstanceNumber": numbers[number]} if numbers is not None else {}
        write_slice(
            folder / f"{name}_{number:02d}.dcm",
            series="series",
            position=(-4.0, -4.0, float(z)),
            orientation=orientation,
            drop=drop,
            change={**change, **where},
        )


def _used(folder: Path, *, training: bool = False):
    """Return the names of the used slices from feet to head, the index and the stacks."""
    paths = sorted(path.name for path in folder.iterdir())
    rows = [{**row, "subset": "test2"} for row in read_headers(folder, paths)]
    table, stacks = choose_slices(headers_table(rows), folder, training=training)
    index = number_chosen(table)
    used = index[index["slice_num"].notna()].sort_values("slice_num")
    return used["path"].str.removesuffix(".dcm").tolist(), index, stacks


Z = np.arange(10) * 5.0


def _two_kernels(folder: Path) -> None:
    _write(folder, "b", Z, ConvolutionKernel="BONE", numbers=range(101, 111))
    _write(folder, "a", Z, ConvolutionKernel="STANDARD", numbers=range(1, 11))


def _two_acquisitions(folder: Path) -> None:
    _write(folder, "a", Z, AcquisitionNumber=2)
    _write(folder, "b", Z + 0.3, AcquisitionNumber=3)


def _acquisitions_step_by_step_twice(folder: Path) -> None:
    for number in range(5):
        _write(folder, f"a{number}", Z[2 * number : 2 * number + 2], AcquisitionNumber=number)
        _write(folder, f"b{number}", Z[2 * number : 2 * number + 2], AcquisitionNumber=number + 5)


def _two_series_numbers(folder: Path) -> None:
    _write(folder, "a", Z, SeriesNumber=2)
    _write(folder, "b", Z[2:] + 2.0, SeriesNumber=602)


def _copies(folder: Path) -> None:
    _write(folder, "a", Z, numbers=range(1, 11))
    _write(folder, "b", Z, numbers=range(1, 11))


def _two_passes(folder: Path) -> None:
    _write(folder, "a", Z, numbers=range(1, 11))
    _write(folder, "b", Z[::-1] - 2.5, numbers=range(11, 21))


def _two_passes_in_one_direction(folder: Path) -> None:
    _write(folder, "a", Z, numbers=range(1, 11))
    _write(folder, "b", Z + 2.5, numbers=range(101, 111))


def _two_fields_of_view(folder: Path) -> None:
    _write(folder, "a", Z)
    _write(folder, "b", Z[:-1], PixelSpacing=["0.3", "0.3"])


def _two_tilts(folder: Path) -> None:
    _write(folder, "a", Z)
    _write(folder, "b", Z[1:-1], orientation=tilted(18))


@pytest.mark.parametrize(
    "write",
    [
        _two_kernels,
        _two_acquisitions,
        _acquisitions_step_by_step_twice,
        _two_series_numbers,
        _copies,
        _two_passes,
        _two_passes_in_one_direction,
        _two_fields_of_view,
        _two_tilts,
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_one_of_two_stacks_is_used(tmp_path: Path, write: Callable, training: bool) -> None:
    write(tmp_path)
    used, index, stacks = _used(tmp_path, training=training)
    assert [name[0] for name in used] == ["a"] * 10
    assert len(stacks) == 2
    unused = index.loc[index["slice_num"].isna(), "problem"]
    assert unused.str.startswith("not used: another series or stack").all()


@pytest.mark.parametrize("training", [False, True])
def test_parts_that_follow_each_other_are_one_stack(tmp_path: Path, training: bool) -> None:
    """A step-and-shoot scan: thin slices at the base, thick slices of another kernel above."""
    for number in range(5):
        kernel = "H30s" if number < 2 else "H40s"
        _write(tmp_path, f"a{number}", Z[2 * number : 2 * number + 2], AcquisitionNumber=number,
               ConvolutionKernel=kernel)  # fmt: skip
    used, _, stacks = _used(tmp_path, training=training)
    assert len(used) == 10
    assert len(stacks) == 1


def test_single_repeats_and_shuffled_numbers_are_not_a_second_stack(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(10) + 1
    _write(tmp_path, "a", [*Z[:8], 30, 35], numbers=numbers.tolist())
    assert len(_used(tmp_path)[0]) == 10


def test_the_whole_head_is_preferred_to_more_slices_of_a_part(tmp_path: Path) -> None:
    _write(tmp_path, "a", Z * 3, ConvolutionKernel="BONE")
    _write(tmp_path, "b", np.arange(12) * 5.0, ConvolutionKernel="SOFT")
    assert {name[0] for name in _used(tmp_path)[0]} == {"a"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"orientation": CORONAL}, "set aside from its series: not axial"),
        (
            {"drop": ("ImagePositionPatient", "ImageOrientationPatient")},
            "set aside from its series: no position",
        ),
        ({"ImageType": "DERIVED\\SECONDARY\\SCREEN SAVE"}, "a screen capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture"),
        ({"orientation": (0, 0, 0, 0, 0, 0)}, "set aside from its series: no position"),
        ({"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"}, "a localizer"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_stray_image_is_set_aside_and_reported(tmp_path, options, reason, training) -> None:
    _write(tmp_path, "a", Z, orientation=tilted(18))
    _write(tmp_path, "z", [150.0], **options)
    used, index, _ = _used(tmp_path, training=training)
    assert len(used) == 10
    (problem,) = index.loc[index["slice_num"].isna(), "problem"]
    assert problem.startswith(reason)


def test_images_with_a_position_are_not_set_aside_if_most_have_none(tmp_path: Path) -> None:
    _write(tmp_path, "a", Z, drop=("ImagePositionPatient",), numbers=range(10))
    _write(tmp_path, "b", Z[:2] + 100, numbers=range(10, 12))
    assert len(_used(tmp_path, training=True)[0]) == 12


def test_small_head_is_plausible() -> None:
    """The other tests of this module depend on this."""
    assert small_head((16, 16)).min() == -1000
