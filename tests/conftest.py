"""Fixtures that several packages share."""

import os
import tarfile
from pathlib import Path

# Tests share the cores (pytest-xdist): one thread each, here and in the processes they start.
# torch and numpy read these when they are imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import pytest
from hypothesis import settings

# Examples are drawn anew on machines of any speed: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(os.environ.get("RSNA19_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SHARED_DATA = SHARED / "data"


# Each file goes to one worker, in this order (the rest follows): the first worker makes the
# finished project while the second trains; what is short fills the gaps at the end.
_FIRST = (
    *("test_all_models", "test_fit", "test_parallel_run", "test_ray_runs", "test_new_study"),
    *("test_whole_run", "test_narrowed_run", "test_stacking", "test_leakage", "test_known_gain"),
    *("test_candidates", "test_reporting", "test_judge", "test_whole_study"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left with one at the end."""
    place = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def _unpack(archive: str, factory: pytest.TempPathFactory) -> Path:
    source = SHARED_DATA / archive
    if not source.is_file():
        pytest.skip(f"the real sample {archive} is not beside this checkout")
    target = factory.mktemp(source.name.split(".")[0])
    with tarfile.open(source) as tar:
        tar.extractall(target, filter="data")
    return target


@pytest.fixture(scope="session")
def rsna_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the unpacked RSNA sample (today's layout of the download)."""
    return _unpack("rsna_sample.tar.xz", tmp_path_factory) / "rsna_sample"


@pytest.fixture(scope="session")
def open_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a real tilted head that is not RSNA's and one slice in many syntaxes."""
    return _unpack("open_ct.tar.xz", tmp_path_factory) / "open_ct"
