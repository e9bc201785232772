"""Fixtures that several rooms share."""

import os
import tarfile
from pathlib import Path

# Tests share the cores (pytest-xdist): one thread each, here and in the processes they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Examples are drawn anew on machines of any speed: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(os.environ.get("RSNA19_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SHARED_DATA = SHARED / "data"


_LONG = ("test_fit", "test_ray_runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left with it at the end."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("end_to_end") is None and item.path.stem not in _LONG
        )
    )


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
