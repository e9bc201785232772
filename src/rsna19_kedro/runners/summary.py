"""Closing message of an incomplete run: what failed, and how to resume."""

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
    """List what is done, what failed and why, what was not run, and how to resume.

    Args:
        schedule: At the end of the run.
        resume: See ``how_to_resume``.
    """
    failed, not_run = schedule.failed, schedule.not_run
    lines = [
        f"{len(failed)} of {len(schedule.nodes)} nodes failed, {len(schedule.done)} done, "
        f"{len(not_run)} skipped because they are downstream.",
        "Failed:",
    ]
    for name, error in failed.items():
        first = [line[:_ERROR_WIDTH] for line in error.splitlines() if line.strip()][:_ERROR_LINES]
        lines.append(f"  {name}: " + "\n    ".join(first))
    if not_run:
        lines.append("Skipped:")
    for cause in dict.fromkeys(not_run.values()):
        names = [name for name, blocked_by in not_run.items() if blocked_by == cause]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(f"  {', '.join(names[:_NAMES])}{more} (downstream of {cause})")
    if resume:
        lines.append(f"Fix the error, then resume with:\n  {resume}")
    return "\n".join(lines)


def how_to_resume(work: Work, left: Collection[str]) -> str:
    """The command that resumes a run, including one that repeats a finished run.

    Args:
        work: Work of the run.
        left: Names of the nodes that are not done.

    Returns:
        The command; empty if the remaining nodes have no outputs (they only check).
    """
    nodes = [node for node in work.pipeline.nodes if node.name in left and node.outputs]
    if not nodes:
        return ""
    work.reuse.forget(name for node in nodes for name in node.inputs)
    if work.follows or any(work.reuse.state(node).runs for node in nodes):
        return resume_command()
    # All remaining results are up to date, but were to be made again.
    first = work.pipeline.filter(node_names=list(left)).grouped_nodes[0]
    return resume_command(first=[node.name for node in first])


def resume_command(words: list[str] | None = None, first: Sequence[str] = ()) -> str:
    """The command of this process, extended so that it resumes.

    Args:
        words: Words of the command; ``None`` for those of this process.
        first: Names of the nodes to resume from; empty for all nodes with missing outputs.
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
