"""Fixtures for several test packages."""

import os
import tarfile
from pathlib import Path

# Tests share the cores (pytest-xdist): one thread per process, also in child processes.
# torch and numpy read these variables when they are imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import pytest
from hypothesis import settings

# No deadline per example, because machines differ in speed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(os.environ.get("RSNA19_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SHARED_DATA = SHARED / "data"


# Each file goes to one worker, in this order, then all others: the first worker makes the
# finished project while the second trains; short files fill the gaps at the end.
_FIRST = (
    *("test_all_models", "test_fit", "test_parallel_run", "test_ray_runs", "test_new_study"),
    *("test_whole_run", "test_narrowed_run", "test_stacking", "test_leakage", "test_known_gain"),
    *("test_candidates", "test_reporting", "test_judge", "test_whole_study"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first, so that none is left to a single worker at the end."""
    order = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def _unpack(archive: str, factory: pytest.TempPathFactory) -> Path:
    source = SHARED_DATA / archive
    if not source.is_file():
        pytest.skip(f"the real sample {archive} is not available next to this checkout")
    target = factory.mktemp(source.name.split(".")[0])
    with tarfile.open(source) as tar:
        tar.extractall(target, filter="data")
    return target


@pytest.fixture(scope="session")
def rsna_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the unpacked RSNA sample (today's layout of the download)."""
    return _unpack("rsna_sample.tar.xz", tmp_path_factory) / "rsna_sample"


@pytest.fixture(scope="session")
def open_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a real tilted head CT from another source, and one slice in many syntaxes."""
    return _unpack("open_ct.tar.xz", tmp_path_factory) / "open_ct"
