"""``python -m rsna19_kedro``: the same command as ``kedro run``."""

import sys
from pathlib import Path

from kedro.framework.project import configure_project

from rsna19_kedro.cli import run


def main() -> None:
    """Run the packaged project from the folder that contains ``conf`` and ``data``."""
    configure_project(Path(__file__).parent.name)
    run(sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()
