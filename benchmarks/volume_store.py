"""Size and reading time of formats for volumes; ``ct/volume_store.py`` uses the best one.

Every candidate has one compressed chunk per slice and is read by one thread: open the study,
read a random window of five slices, from the page cache. ``VolumeStore`` itself is measured
too. Zarr stores a study in one file (a shard) here; without sharding it would make one file per
slice, 870,000 for the challenge.

Run: ``python benchmarks/volume_store.py [FOLDER ...]`` with folders of DICOM, or without for
phantoms. Needs the extra ``benchmarks`` for Zarr.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import blosc2
import numpy as np

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.phantoms import Acquisition, acquire, make_head

WINDOW = 5
READS = 300
CODECS = {"lz4": blosc2.Codec.LZ4, "lz4hc": blosc2.Codec.LZ4HC, "zstd": blosc2.Codec.ZSTD}
FILTERS = {
    "shuffle": [blosc2.Filter.SHUFFLE],
    "bitshuffle": [blosc2.Filter.BITSHUFFLE],
    "shuffle+delta": [blosc2.Filter.DELTA, blosc2.Filter.SHUFFLE],
    "shuffle+bytedelta": [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA],
}
LEVELS = (("lz4", 5), ("lz4hc", 5), ("zstd", 1), ("zstd", 5))

Write = Callable[[Path, np.ndarray], None]
Read = Callable[[Path, int], np.ndarray]


def blosc_candidates() -> Iterator[tuple[str, Write, Read]]:
    """Blosc2 frames with several codecs and filters, and an n-dimensional array."""
    for codec, level in LEVELS:
        for filters in FILTERS:
            yield (
                f"blosc2 frame {codec} {level} {filters}",
                lambda path, volume, c=codec, n=level, f=filters: write_frame(
                    path, volume, c, n, f
                ),
                read_frame,
            )
    yield "blosc2 b2nd zstd 1 shuffle+bytedelta", write_b2nd, read_b2nd


def cparams(codec: str, level: int, filters: str, block: int) -> dict[str, object]:
    """Blosc2's settings for one chunk per slice."""
    return {
        "codec": CODECS[codec],
        "clevel": level,
        "filters": FILTERS[filters],
        "typesize": 2,
        "blocksize": block,
        "nthreads": 1,
    }


def write_frame(path: Path, volume: np.ndarray, codec: str, level: int, filters: str) -> None:
    """Write a contiguous frame to one file."""
    size = volume[0].nbytes
    settings = cparams(codec, level, filters, size)
    frame = blosc2.SChunk(
        chunksize=size, contiguous=True, cparams=settings, dparams={"nthreads": 1}
    )
    for slice_hu in volume:
        frame.append_data(np.ascontiguousarray(slice_hu))
    path.write_bytes(frame.to_cframe())


def read_frame(path: Path, start: int) -> np.ndarray:
    """Decompress the chunks of a window."""
    frame = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    side = int((frame.chunksize // 2) ** 0.5)
    window = np.empty((WINDOW, side, side), np.int16)
    for index in range(WINDOW):
        frame.decompress_chunk(start + index, window[index])
    return window


def write_b2nd(path: Path, volume: np.ndarray) -> None:
    """Write an n-dimensional Blosc2 array to one file."""
    settings = cparams("zstd", 1, "shuffle+bytedelta", 0)
    del settings["blocksize"], settings["typesize"]
    slab = (1, *volume.shape[1:])
    target = path.with_suffix(".b2nd")
    blosc2.asarray(volume, chunks=slab, blocks=slab, urlpath=str(target), cparams=settings)
    target.rename(path)


def read_b2nd(path: Path, start: int) -> np.ndarray:
    """Read a window from an n-dimensional array."""
    array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    return np.asarray(array[start : start + WINDOW])


def zarr_candidates() -> Iterator[tuple[str, Write, Read]]:
    """Zarr 3 with one shard per study."""
    import zarr

    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    codecs = {
        "blosc zstd 1 bitshuffle": zarr.codecs.BloscCodec(
            cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2
        ),
        "zstd 1": zarr.codecs.ZstdCodec(level=1),
    }
    for name, codec in codecs.items():

        def write(path: Path, volume: np.ndarray, codec: object = codec) -> None:
            array = zarr.create_array(
                store=str(path),
                shape=volume.shape,
                chunks=(1, *volume.shape[1:]),
                shards=volume.shape,
                dtype="int16",
                compressors=codec,
            )
            array[:] = volume

        def read(path: Path, start: int) -> np.ndarray:
            array = zarr.open_array(str(path), mode="r")
            return np.asarray(array[start : start + WINDOW])

        yield f"zarr 3 {name}", write, read


def store_candidate() -> tuple[str, Write, Read]:
    """The format of this project, with its metadata and checks."""

    def write(path: Path, volume: np.ndarray) -> None:
        VolumeStore(path.parent).write(path.stem, volume, {"record": {}})

    def read(path: Path, start: int) -> np.ndarray:
        return VolumeStore(path.parent).read(path.stem, start, start + WINDOW)

    return "VolumeStore", write, read


def measure(name: str, write: Write, read: Read, volumes: list[np.ndarray], folder: Path) -> None:
    """Write all volumes, read random windows, print one line."""
    paths = [folder / f"{number}.b2" for number in range(len(volumes))]
    start = time.process_time()
    for path, volume in zip(paths, volumes, strict=True):
        write(path, volume)
    writing = (time.process_time() - start) / len(volumes)
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    rng = np.random.default_rng(0)
    times = []
    for turn in range(READS + len(volumes)):
        study = turn % len(volumes) if turn < len(volumes) else int(rng.integers(len(volumes)))
        first = int(rng.integers(len(volumes[study]) - WINDOW + 1))
        begin = time.perf_counter()
        window = read(paths[study], first)
        spent = time.perf_counter() - begin
        if turn >= len(volumes):  # the first round loads every file into the page cache
            times.append(spent)
        assert np.array_equal(window, volumes[study][first : first + WINDOW]), name
    median, late = np.median(times) * 1e3, np.quantile(times, 0.95) * 1e3
    share = size / sum(volume.nbytes for volume in volumes)
    print(
        f"{name:<42} size {share:6.1%}  read {median:5.2f} ms (95 %: {late:5.2f})  "
        f"write {writing * 1e3:4.0f} CPU-ms per study"
    )


def real_volumes(folder: Path) -> list[np.ndarray]:
    """Prepared volumes of the studies in a folder of DICOM."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    rows = [{**row, "subset": "train"} for row in read_headers(folder, files)]
    table = number_slices(headers_table(rows), folder)
    usable = table[table["slice_num"].notna()]
    return [prepare_study(slices, folder, 400)[0] for _, slices in usable.groupby("study_id")]


def phantom_volumes() -> list[np.ndarray]:
    """Three phantoms."""
    scans = [
        acquire(
            make_head(seed), Acquisition(tuple(5.0 * np.arange(-7, 21)), size_px=400), seed=seed
        )
        for seed in range(3)
    ]
    return [np.rint(scan.hu).astype(np.int16) for scan in scans]


def main() -> None:
    """Measure all candidates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    folders = parser.parse_args().folders
    volumes = [volume for folder in folders for volume in real_volumes(folder)] or phantom_volumes()
    volumes = [volume for volume in volumes if len(volume) >= WINDOW]
    print(f"{len(volumes)} studies, {sum(map(len, volumes))} slices of {volumes[0].shape[1:]}")
    blosc2.set_nthreads(1)
    for name, write, read in (*blosc_candidates(), *zarr_candidates(), store_candidate()):
        with tempfile.TemporaryDirectory() as folder:
            measure(name, write, read, volumes, Path(folder))


if __name__ == "__main__":
    main()
