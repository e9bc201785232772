"""The folder of its own that each prediction of new studies writes to."""

import os
import re
from contextlib import suppress
from datetime import datetime
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

from rsna19_kedro.errors import ParameterError

LATEST: Final = "latest"
"""Link to the folder of the newest prediction."""

_NAME: Final = re.compile(r"[^\W_][\w.-]*")


def default_output(runtime: dict[str, Any]) -> str:
    """Time and a short hash of the source, so that two runs at once write to two folders."""
    source = Path(str(runtime["source"])).expanduser().absolute()
    digest = sha1(os.fsencode(source), usedforsecurity=False).hexdigest()[:6]
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"[:-3] + f"_{digest}"


def check_output(name: object) -> str:
    """Check the name that a user gave to the results.

    Raises:
        ParameterError: It is no name of a folder, or that of the link to the newest one.
    """
    if not _NAME.fullmatch(str(name)) or name == LATEST:
        raise ParameterError(
            f"--params output={name}: expected the name of a folder, of letters, digits and "
            f". - _, other than {LATEST!r}. The folder is made in data/07_model_output/new_study."
        )
    return str(name)


def point_latest_to(folder: Path) -> None:
    """Let ``latest`` beside a folder lead to it; where links cannot be made, nothing does."""
    if not folder.is_dir() or folder.name == LATEST:
        return
    link = folder.with_name(LATEST)
    part = folder.with_name(f".{LATEST}-{folder.name}")
    with suppress(OSError):
        part.unlink(missing_ok=True)
        part.symlink_to(folder.name)
        part.replace(link)
