"""The output folder of a prediction of new studies."""

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
    """Return time and a short hash of the source; simultaneous runs get different folders."""
    source = Path(str(runtime["source"])).expanduser().absolute()
    digest = sha1(os.fsencode(source), usedforsecurity=False).hexdigest()[:6]
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"[:-3] + f"_{digest}"


def check_output(name: object) -> str:
    """Check a user's name for the output folder.

    Raises:
        ParameterError: It is not a valid name, or is that of the link to the newest results.
    """
    if not _NAME.fullmatch(str(name)) or name == LATEST:
        raise ParameterError(
            f"--params output={name}: expected a folder name of letters, digits and . - _, "
            f"other than {LATEST!r}. The folder is created in data/07_model_output/new_study."
        )
    return str(name)


def point_latest_to(folder: Path) -> None:
    """Link ``latest`` next to a folder to it; do nothing if links are not supported."""
    if not folder.is_dir() or folder.name == LATEST:
        return
    link = folder.with_name(LATEST)
    part = folder.with_name(f".{LATEST}-{folder.name}")
    with suppress(OSError):
        part.unlink(missing_ok=True)
        part.symlink_to(folder.name)
        part.replace(link)
