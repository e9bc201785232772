"""What a run says at its end that left nodes undone: what failed, and how to resume."""

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.work import Work

_ERROR_LINES = 3
_ERROR_WIDTH = 300
_NAMES = 4


def failure_text(schedule: Schedule, resume: str) -> str:
    """Done, failed and why, not run because of what, and how to go on.

    Args:
        schedule: At the end of the run.
        resume: See ``how_to_go_on``.
    """
    failed, not_run = schedule.failed, schedule.not_run
    lines = [
        f"{len(failed)} of {len(schedule.nodes)} nodes failed; {len(schedule.done)} are done, "
        f"{len(not_run)} were not run because of them.",
        "Failed:",
    ]
    for name, error in failed.items():
        first = [line[:_ERROR_WIDTH] for line in error.splitlines() if line.strip()][:_ERROR_LINES]
        lines.append(f"  {name}: " + "\n    ".join(first))
    if not_run:
        lines.append("Not run:")
    for cause in dict.fromkeys(not_run.values()):
        names = [name for name, blocked_by in not_run.items() if blocked_by == cause]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(f"  {', '.join(names[:_NAMES])}{more} (need {cause})")
    if resume:
        lines.append(f"Fix the error, then resume with:\n  {resume}")
    return "\n".join(lines)


def how_to_go_on(work: Work, left: Collection[str]) -> str:
    """The command that does what is left of a run, also where a finished run is done again.

    Args:
        work: The run's.
        left: Names of the nodes that are not done.

    Returns:
        The command, or nothing where the nodes that are left make nothing (they only check).
    """
    nodes = [node for node in work.pipeline.nodes if node.name in left and node.outputs]
    if not nodes:
        return ""
    work.reuse.forget(name for node in nodes for name in node.inputs)
    if work.follows or any(work.reuse.state(node).runs for node in nodes):
        return resume_command()
    # All that is left is up to date, and was to be made again all the same.
    first = work.pipeline.filter(node_names=list(left)).grouped_nodes[0]
    return resume_command(first=[node.name for node in first])


def resume_command(words: list[str] | None = None, first: Sequence[str] = ()) -> str:
    """This command again, for what is still to be done.

    Args:
        words: The command's words; ``None`` for those of this process.
        first: Names of the nodes to resume from; none for all whose outputs are missing.
    """
    given = list(sys.argv if words is None else words)
    program = Path(given[0]).name if given else ""
    if program == "__main__.py":
        program = f"python -m {Path(given[0]).parent.name}"
    if "run" not in given[1:] and program != "rsna19-kedro":
        if first:
            return f"the same run with from_nodes={list(first)} (--from-nodes)"
        return "the same run with only_missing_outputs=True (--only-missing-outputs)"
    if first:
        given += ["--from-nodes", ",".join(first)]
    elif "--only-missing-outputs" not in given:
        given.append("--only-missing-outputs")
    return f"{program} {shlex.join(given[1:])}"
