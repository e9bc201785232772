"""Headers per second and core: the reader of the slice index against plain pydicom.

Usage:  python benchmarks/index_headers.py [FOLDER] [--files 2000] [--size 512]

Without a folder, slices like the challenge's (same tags and size, half signed 16-bit explicit
VR and half unsigned 12-bit implicit VR) are first written to a temporary folder. All readers
read the same files in one process, from the page cache, in alternating rounds; CPU time is
measured. "With pixels" is a plain dcmread. The target of this project is 1,500 headers per
second and core for the whole index: reading, table and slice numbers.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from pydicom import config, dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.quiet import quiet_pydicom
from rsna19_kedro.dicom.slice_index import headers_table, number_slices

ROUNDS = 3
TAGS = [
    *("SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("StudyID", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth"),
    *("RescaleIntercept", "RescaleSlope"),
]


@config.disable_value_validation()
def write_slices(folder: Path, files: int, size: int) -> None:
    """Write studies of 34 slices with the challenge's tags."""
    pixels = np.random.default_rng(0).integers(0, 2000, (size, size), dtype=np.uint16).tobytes()
    for number in range(files):
        signed = number // 34 % 2 == 0
        ds = Dataset()
        ds.SOPInstanceUID = f"ID_{number:09x}"
        ds.Modality = "CT"
        ds.PatientID = f"ID_{number // 68:08x}"
        ds.StudyInstanceUID = f"ID_{number // 34:010x}"
        ds.SeriesInstanceUID = f"ID_{number // 34 + 7:010x}"
        ds.StudyID = ""
        ds.ImagePositionPatient = ["-125.000000", "-141.318451", f"{5 * (number % 34):.6f}"]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "0.968148", "-0.250380"]
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows = ds.Columns = size
        ds.PixelSpacing = ["0.488281", "0.488281"]
        ds.BitsAllocated = 16
        ds.BitsStored = 16 if signed else 12
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(signed)
        ds.WindowCenter, ds.WindowWidth = "30", "80"
        ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
        ds.PixelData = pixels
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        syntax = ExplicitVRLittleEndian if signed else ImplicitVRLittleEndian
        ds.file_meta.TransferSyntaxUID = syntax
        dcmwrite(folder / f"ID_{number:09x}.dcm", ds, enforce_file_format=True)


def ways(folder: Path, names: list[str]) -> dict[str, Callable[[], object]]:
    """The compared readers; each reads all files."""

    def values(**options: bool | list[str]) -> list[list[object]]:
        sets = (dcmread(folder / name, **options) for name in names)
        return [[ds.get(tag) for tag in TAGS] for ds in sets]

    def index() -> object:
        rows = read_headers(folder, names)
        return number_slices(headers_table([{**row, "subset": "train"} for row in rows]), folder)

    return {
        "pydicom, with pixels": values,
        "pydicom, stop_before_pixels": lambda: values(stop_before_pixels=True),
        "pydicom, specific_tags too": lambda: values(stop_before_pixels=True, specific_tags=TAGS),
        "read_headers": lambda: read_headers(folder, names),
        "read_headers, table and numbers": index,
    }


def measure(folder: Path, files: int) -> None:
    """Print headers per CPU-second of each reader, and the ratio to pydicom without pixels."""
    quiet_pydicom()
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix == ".dcm")
    names = [path.relative_to(folder).as_posix() for path in paths][:files]
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, way in ways(folder, names).items():
            start = time.process_time()
            way()
            seconds.setdefault(name, []).append(time.process_time() - start)
    rates = {name: len(names) / median(times) for name, times in seconds.items()}
    usual = rates["pydicom, stop_before_pixels"]
    print(f"{len(names)} files")
    for name, rate in rates.items():
        print(f"{name:34} {rate:7,.0f} headers per CPU-second  {rate / usual:5.2f} x")


def main() -> None:
    """Measure on a folder, or on generated slices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    if options.folder is not None:
        measure(options.folder, options.files)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder), options.files, options.size)
        measure(Path(folder), options.files)


if __name__ == "__main__":
    main()
