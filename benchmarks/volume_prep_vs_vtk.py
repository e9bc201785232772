"""CPU time of preparing tilted studies: this project against the usual way with VTK.

The usual way, study by study: ``vtkDICOMImageReader`` on the study's folder, a shear by the
gantry tilt as a transform of ``vtkImageReslice`` with cubic interpolation on a grid that is
enlarged along y, centre of mass of HU > 0, crop to 400 x 400, ``np.save`` of each slice. This
project: headers, index, decoding, alignment by position, crop, checksums, compressed store.
Both in one thread, alternating in one process, from files in the page cache to written files.

Run: ``python benchmarks/volume_prep_vs_vtk.py FOLDER [FOLDER ...]`` with folders of DICOM; only
tilted studies count. Needs the extra ``benchmarks``.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.dicom.studies import prepare_study

CROP_PX = 400


def index(folder: Path, files: list[str]) -> pd.DataFrame:
    """The slice index of some files."""
    rows = [{**row, "subset": "train"} for row in read_headers(folder, files)]
    table = number_slices(headers_table(rows), folder)
    return table[table["slice_num"].notna()]


def this_project(studies: Path, files: list[str], target: Path) -> None:
    """Index all studies, then prepare and store each."""
    store = VolumeStore(target)
    for study_id, slices in index(studies, files).groupby("study_id"):
        volume, record = prepare_study(slices, studies, CROP_PX)
        store.write(str(study_id), volume, {"record": record.as_dict()})


def usual_way(studies: Path, tilts: dict[str, float], target: Path) -> None:
    """Read, shear and crop each study with VTK and numpy; save one file per slice."""
    for name, tilt_deg in tilts.items():
        reader = vtk.vtkDICOMImageReader()
        reader.SetDirectoryName(str(studies / name))
        reader.Update()
        volume = vtk_volume(shear(reader, tilt_deg))
        above = np.argwhere(volume > 0)
        row, col = above[:, 1:].mean(axis=0).round().astype(int) if len(above) else (256, 256)
        folder = target / name
        folder.mkdir()
        half = CROP_PX // 2
        padded = np.pad(volume, ((0, 0), (half, half), (half, half)), constant_values=PADDING_HU)
        cropped = padded[:, row : row + CROP_PX, col : col + CROP_PX].astype(np.int16)
        for number, hu in enumerate(cropped):
            np.save(folder / f"{number:03d}.npy", hu)


def shear(reader: vtk.vtkDICOMImageReader, tilt_deg: float) -> vtk.vtkImageData:
    """Shear a volume along y by the tilt, cubic, on a grid that contains the result."""
    image = reader.GetOutput()
    _, _, slice_mm = image.GetSpacing()
    low, high = image.GetExtent()[4:]
    middle = slice_mm * (low + high) / 2
    # The reader flips the rows and puts the head first: both change the sign of the sagittal
    # angle, and the transform from output to input changes it once more.
    slope = -np.tan(np.deg2rad(tilt_deg))
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 2, slope)
    matrix.SetElement(1, 3, -slope * middle)
    transform = vtk.vtkTransform()
    transform.SetMatrix(matrix)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(transform)
    reslice.SetInterpolationModeToCubic()
    reslice.SetBackgroundLevel(PADDING_HU)
    reslice.SetNumberOfThreads(1)
    row_mm = image.GetSpacing()[1]
    margin = int(np.ceil(abs(slope) * slice_mm * (high - low) / 2 / row_mm))
    extent = list(image.GetExtent())
    extent[2] -= margin
    extent[3] += margin
    reslice.SetOutputExtent(extent)
    reslice.SetOutputSpacing(image.GetSpacing())
    reslice.SetOutputOrigin(image.GetOrigin())
    reslice.Update()
    return reslice.GetOutput()


def vtk_volume(image: vtk.vtkImageData) -> np.ndarray:
    """(S, H, W) of a VTK image; its rows run upwards, so they are flipped."""
    cols, rows, slices = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(slices, rows, cols)[:, ::-1]


def cpu_seconds(work: Callable[[], None]) -> float:
    """User and system time of this process and its children."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def link_studies(folders: list[Path], target: Path) -> tuple[dict[str, float], list[str]]:
    """Link the files of each tilted study into a separate folder, as VTK needs it."""
    tilts: dict[str, float] = {}
    files: list[str] = []
    for folder in folders:
        paths = sorted(
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
        )
        for number, (_, slices) in enumerate(index(folder, paths).groupby("study_id")):
            tilt_deg = float(slices["tilt_deg"].iloc[0])
            if not abs(tilt_deg) > 0.1 or len(slices) < 2:
                continue
            name = f"{folder.name}_{number}"
            (target / name).mkdir()
            for path in slices["path"]:
                file = f"{name}/{Path(path).stem}.dcm"
                (target / file).symlink_to((folder / path).resolve())
                files.append(file)
            tilts[name] = tilt_deg
    return tilts, files


def report_agreement(out: Path, studies: Path, tilts: dict[str, float]) -> None:
    """Print the mean difference of both volumes between -100 and 200 HU."""
    store = VolumeStore(out / "store")
    for name, tilt_deg in tilts.items():
        files = [f"{name}/{path.name}" for path in (studies / name).iterdir()]
        study_id = str(index(studies, files)["study_id"].iloc[0])
        theirs = np.stack([np.load(path) for path in sorted((out / name).iterdir())])[::-1]
        pair = [
            np.clip(volume, -100, 200).astype(float) for volume in (theirs, store.read(study_id))
        ]
        difference = np.abs(pair[0] - pair[1]).mean()
        print(f"{name}: tilt {tilt_deg:.1f} degrees, mean difference {difference:.1f} HU")


def main() -> None:
    """Measure both methods in turn, check that they agree, and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    vtk.vtkThreadedImageAlgorithm.SetGlobalDefaultEnableSMP(False)
    vtk.vtkMultiThreader.SetGlobalMaximumNumberOfThreads(1)
    times: dict[str, list[float]] = {"VTK": [], "this project": []}
    with tempfile.TemporaryDirectory() as scratch:
        studies = Path(scratch) / "studies"
        studies.mkdir()
        tilts, files = link_studies(arguments.folders, studies)
        print(f"{len(tilts)} tilted studies, {len(files)} slices")
        for repeat in range(arguments.repeats + 1):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory(dir=scratch) as target:
                out = Path(target)
                spent = {
                    "VTK": cpu_seconds(lambda out=out: usual_way(studies, tilts, out)),
                    "this project": cpu_seconds(
                        lambda out=out: this_project(studies, files, out / "store")
                    ),
                }
                if repeat == 0:  # the first round is a warm-up
                    report_agreement(out, studies, tilts)
                    continue
            for name, values in times.items():
                values.append(spent[name])
            print(f"round {repeat}: {time.perf_counter() - start:.1f} s")
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name}: median {median:.2f} CPU-s, {len(tilts) / median:.1f} studies per CPU-second "
            f"({min(values):.2f}..{max(values):.2f})"
        )
    ratio = statistics.median(times["VTK"]) / statistics.median(times["this project"])
    print(f"ratio of medians: {ratio:.1f}")


if __name__ == "__main__":
    main()
