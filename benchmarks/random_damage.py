"""Random damage to the files of a study: which is reported, which is repaired, which is invisible.

Usage:  python benchmarks/random_damage.py [--rounds 200] [--seed 0]

Each round copies a small phantom study (no tilt, 14 slices, half explicit and half implicit VR),
damages one to four of its files (changed bytes in the header or the pixels, truncation, swapped
halves, zeros, a wrong element length) and prepares it as a new study. It checks that

* only InputError is raised, and no study fails for another reason;
* every damaged file is reported with a problem, as replaced by its neighbour or as implausible,
  unless its image and position are unchanged or the damage is invisible: values that are valid by
  themselves (other pixels, another position, another patient);
* the volume equals the one prepared from the used files alone.

Prints one line per kind of outcome; exit status 1 if a check fails.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_rows
from rsna19_kedro.dicom.new_source import NewStudies, prepare_new_studies
from rsna19_kedro.dicom.pixels import read_hu
from rsna19_kedro.errors import InputError
from rsna19_kedro.phantoms import Acquisition, acquire, make_head
from rsna19_kedro.phantoms.dicom_writer import Pixels, StudyHeader, write_slices

SIDE = 64
GEOMETRY = (
    *("position_x", "position_y", "position_z", "row_spacing_mm", "col_spacing_mm", "study_id"),
)


def write_phantom(folder: Path) -> None:
    """Write the study that is damaged."""
    how = Acquisition(tuple(range(-60, 80, 10)), pixel_spacing_mm=4.0, size_px=64)
    scan = acquire(make_head(3), how, seed=3)
    uids = [f"ID_{number:09x}" for number in range(len(scan.hu))]
    folder.mkdir()
    for half in (0, 1):
        pixels: Pixels = "signed" if half else "unsigned"
        header = StudyHeader("ID_study", "ID_series", "ID_patient", pixels, bool(half), False)
        part = replace(
            scan,
            hu=scan.hu[half::2],
            acquisition=replace(how, slice_positions_mm=how.slice_positions_mm[half::2]),
        )
        write_slices(folder, part, header, uids[half::2])


def damage(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a file in one of seven ways."""
    data = bytearray(content)
    pixels = content.rfind(b"\xe0\x7f\x10\x00")
    kind = str(rng.choice(["header", "pixels", "cut", "swap", "zeros", "length", "insert"]))
    if kind == "header":
        for offset in rng.integers(132, pixels, rng.integers(1, 9)):
            data[offset] = rng.integers(256)
    elif kind == "pixels":
        for offset in rng.integers(pixels + 12, len(data), rng.integers(1, 400)):
            data[offset] = rng.integers(256)
    elif kind == "cut":
        del data[rng.integers(0, len(data)) :]
    elif kind == "swap":
        middle = len(data) // 2
        data = data[middle:] + data[:middle]
    elif kind == "zeros":
        start = rng.integers(0, len(data))
        length = min(int(rng.integers(1, 2000)), len(data) - start)
        data[start : start + length] = bytes(length)
    elif kind == "length":
        data[pixels + 8 : pixels + 12] = int(rng.integers(2**32)).to_bytes(4, "little")
    else:
        offset = int(rng.integers(132, len(data)))
        data[offset:offset] = bytes(rng.integers(0, 256, rng.integers(1, 50), dtype=np.uint8))
    return kind, bytes(data)


def _prepare(source: Path, out: Path) -> tuple[NewStudies, VolumeStore]:
    store = VolumeStore(out)
    return prepare_new_studies(source, store, crop_size_px=SIDE), store


def _same(path: Path, original: Path) -> bool:
    """Whether a damaged file still has the same image at the same position."""
    damaged_row, row = read_rows(path)[0], read_rows(original)[0]
    if any(damaged_row[name] != row[name] for name in GEOMETRY):
        return False
    try:
        return np.array_equal(read_hu(path), read_hu(original))
    except InputError:
        return False


def check_round(
    plain: Path, folder: Path, rng: np.random.Generator
) -> tuple[Counter[str], list[str]]:
    """Damage a copy of a study once.

    Args:
        plain: Folder with the study.
        folder: Empty folder to work in.
        rng: Source of all random choices.

    Returns:
        Number of files per outcome, and the failed checks.
    """
    shutil.copytree(plain, folder / "in")
    names = sorted(path.name for path in plain.iterdir())
    hit = {str(name): "" for name in rng.choice(names, rng.integers(1, 5), replace=False)}
    for name in hit:
        hit[name], content = damage((plain / name).read_bytes(), rng)
        (folder / "in" / name).write_bytes(content)
    try:
        new, store = _prepare(folder / "in", folder / "out")
    except InputError as error:
        return Counter({"refused as a whole": 1}), [f"all files were refused: {error}"]
    except Exception as error:
        return Counter(), [f"{hit}: {type(error).__name__}: {error}"]
    main = new.slices.groupby("study_number").size().idxmax()
    studies = new.findings["studies"]
    study = next(finding for finding in studies if finding["number"] == main)
    wrong = [
        f"{hit}: {finding['failed']}"
        for finding in studies
        if finding["failed"] and "cannot be read (" in finding["failed"]
    ]
    outcomes: Counter[str] = Counter()
    files = new.files.set_index("path")
    failed = {finding["number"] for finding in studies if finding["failed"]}
    replaced = _numbers(study, "replaced by their neighbours: ")
    implausible = _numbers(study, "damaged or of another kind: ")
    for name, kind in hit.items():
        row = files.loc[name]
        if isinstance(row["problem"], str) and row["problem"]:
            outcomes[f"{kind}: reported"] += 1
        elif row["study_number"] in failed:
            outcomes[f"{kind}: reported as a separate study"] += 1
        elif row["study_number"] == main and row["slice_num"] in replaced:
            outcomes[f"{kind}: replaced by its neighbour, and reported"] += 1
        elif row["study_number"] == main and row["slice_num"] in implausible:
            outcomes[f"{kind}: reported as implausible"] += 1
        elif _same(folder / "in" / name, plain / name):
            outcomes[f"{kind}: same image at the same position"] += 1
        else:
            outcomes[f"{kind}: invisible"] += 1
    main_files = files[(files["study_number"] == main) & files["slice_num"].notna()]
    readable = main_files[~main_files["slice_num"].isin(replaced)]
    (folder / "again").mkdir()
    for name in readable.index:
        shutil.copy(folder / "in" / name, folder / "again")
    _, again = _prepare(folder / "again", folder / "again_out")
    kept = readable["slice_num"].sort_values().to_numpy(dtype=int)
    if not np.array_equal(store.read(f"study_{main}")[kept], again.read("study_1")):
        wrong.append(f"{hit}: the volume is not that of its readable files")
    return outcomes, wrong


def _numbers(study: dict[str, Any], after: str) -> set[int]:
    lists = [text.split(after)[1] for text in study["remarks"] if after in text]
    return {int(number) for text in lists for number in text.split(", ")}


def run(rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run all rounds, each with its own seed; see ``check_round``."""
    outcomes: Counter[str] = Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name) / "plain"
        write_phantom(plain)
        for number in range(rounds):
            folder = Path(name) / "round"
            folder.mkdir()
            counts, failures = check_round(plain, folder, np.random.default_rng([seed, number]))
            outcomes += counts
            wrong += [f"round {number}: {failure}" for failure in failures]
            shutil.rmtree(folder)
    return outcomes, wrong


def main() -> None:
    """Run the rounds and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    outcomes, wrong = run(args.rounds, args.seed)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:5d}  {outcome}")
    print("\n".join(wrong) or f"{args.rounds} rounds: no check failed")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
