"""A full disk at every write of a run: no file is lost or mixed, and the run can be resumed.

Usage:  python benchmarks/fault_at_every_write.py PROJECT

PROJECT is a folder after ``kedro run --env test``. One copy is run with another seed, which makes
every network and table again. In a second copy, the first rename of each file to its final name
below ``data/02_intermediate`` to ``data/08_reporting`` fails with the error of a full disk, and the
run is started again. After every fault all previous files must exist, with the old or the new
content, and no unfinished file may be left. Prints one line per 20 faults; exit status 1 if a file
was lost.
"""

import argparse
import errno
import logging
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kedro.io import DatasetError
from reuse_after_changes import contents, copy_of, run

from rsna19_kedro.files import StorageError

_PARAMS: Final = {"seed": 7}
_LAYERS: Final = ("02", "03", "04", "05", "06", "07", "08")


class FullDisk:
    """Makes the first rename of each file below ``data`` fail."""

    def __init__(self) -> None:
        self.data: Path | None = None
        self.failed: list[str] = []

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise the error of a full disk; see ``sys.addaudithook``."""
        if event != "os.rename" or self.data is None:
            return
        target = os.path.abspath(os.fsdecode(arguments[1]))
        layers = tuple(f"{self.data}/{layer}_" for layer in _LAYERS)
        if target.startswith(layers) and target not in self.failed:
            self.failed.append(target)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)


def lost(project: Path, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Files with neither the old nor the new content, and unfinished files."""
    now = contents(project)
    names = [name for name in old if now.get(name) not in (old[name], new.get(name))]
    return names + [str(path) for path in (project / "data").rglob(".part-*")]


def main() -> None:
    """Make each write fail once, and compare with an uninterrupted run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    finished = parser.parse_args().project.resolve()
    logging.disable(logging.CRITICAL)
    disk, start, problems = FullDisk(), time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(dir=finished.parent) as folder:
        undisturbed = copy_of(finished, Path(folder) / "undisturbed")
        run(undisturbed, _PARAMS, only_outdated=True)
        old, new = contents(finished), contents(undisturbed)
        project = copy_of(finished, Path(folder) / "disturbed")
        sys.addaudithook(disk.hook)
        while True:
            disk.data, faults = project / "data", len(disk.failed)
            with suppress(StorageError, OSError, DatasetError):
                run(project, _PARAMS, only_outdated=True)
            disk.data = None
            problems += lost(project, old, new)
            if len(disk.failed) == faults:
                break
            if len(disk.failed) // 20 > faults // 20:
                passed = time.monotonic() - start
                print(
                    f"{len(disk.failed)} faults in {passed:.0f} s, {len(problems)} files lost",
                    flush=True,
                )
        differing = [name for name in old | new if contents(project).get(name) != new.get(name)]
    print(f"{len(disk.failed)} faults, {len(problems)} files lost: {problems[:5]}")
    print(f"{len(differing)} of {len(new)} final files differ: {differing[:5]}")
    sys.exit(bool(problems or differing))


if __name__ == "__main__":
    main()
