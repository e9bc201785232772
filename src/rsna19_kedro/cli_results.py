"""``kedro rsna19``: status of the stored results, their removal, and checks of a detector."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rsna19_kedro.cli_errors import with_readable_errors
from rsna19_kedro.cli_names import describe_unknown
from rsna19_kedro.cli_params import parse_params
from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import ParameterError, counted
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.progress import duration
from rsna19_kedro.provenance.plan import State


@click.group(name="rsna19")
def rsna19() -> None:
    """Show the status of the stored results, remove some of them, or check a detector."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--params", default="", help="Parameters, as for kedro run.")(command)
    return click.option("--env", "-e", default=None, help="Environment, as for kedro run.")(command)


@rsna19.command()
@_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--raw/--no-raw", default=True, help="Whether to check the raw data too.")
@with_readable_errors
def status(env: str | None, params: str, as_json: bool, raw: bool) -> None:
    """Show which results are missing or out of date, and why."""
    from rsna19_kedro.status import project_plan

    plan = project_plan(Path.cwd(), env, parse_params(params), with_files=raw)
    if as_json:
        click.echo(json.dumps(plan.as_json(), indent=1))
        return
    if plan.other_source:
        click.echo(plan.other_source)
    for state in State:
        nodes = plan.of(state)
        if nodes:
            click.echo(f"{state.value:>15}: {counted(len(nodes), 'node')}")
    for node in plan.nodes:
        if node.running:
            click.echo(f"{node.node} is running: {node.running}")
    for line in plan.lines():
        click.echo(line)
    if plan.to_run:
        click.echo(f"To update, run: {kedro_run('--only-missing-outputs')}")
        click.echo(f"Recorded time of the results that may be replaced: {duration(plan.seconds)}")


@rsna19.command()
@_options
@click.option(
    "--resume", is_flag=True, help="Resume states of unfinished trainings and predictions."
)
@click.option(
    "--model", default=None, help="All results of a model; with --resume, its resume states."
)
@click.option("--out-of-date", is_flag=True, help="Results that are out of date.")
@click.option(
    "--orphans", is_flag=True, help="Files that no node makes, such as those of removed models."
)
@click.option("--yes", is_flag=True, help="Remove the files; without it, only list them.")
@with_readable_errors
def clean(
    env: str | None,
    params: str,
    resume: bool,
    model: str | None,
    out_of_date: bool,
    orphans: bool,
    yes: bool,
) -> None:
    """List or remove files of unfinished work, of a model or of earlier parameters."""
    from rsna19_kedro.status import orphan_paths, outdated_paths

    if not (resume or model or out_of_date or orphans):
        raise click.UsageError(
            "Choose what to remove: --resume, --model NAME, --out-of-date or --orphans."
        )
    project, given = Path.cwd(), parse_params(params)
    _check_model(project, model)
    paths = set(_of_model(project, model, resume) if resume or model else [])
    paths |= set(outdated_paths(project, env, given) if out_of_date else [])
    paths |= set(orphan_paths(project, env, given) if orphans else [])
    total = 0
    for path in sorted(paths):
        size = _size(path)
        total += size
        click.echo(f"{_size_text(size):>9}  {path.relative_to(project)}")
        if yes:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not paths:
        click.echo("Nothing to remove.")
        return
    action = "Removed" if yes else "Would remove (add --yes)"
    noun = counted(len(paths), "file or folder", "files and folders")
    click.echo(f"{action}: {noun}, {_size_text(total)}")


@rsna19.command()
@click.argument("folder", type=click.Path(path_type=Path))
@with_readable_errors
def detector(folder: Path) -> None:
    """Check the files of the public detector in FOLDER, and test it on a synthetic head."""
    import torch

    from rsna19_kedro.detector.detector import Detector
    from rsna19_kedro.detector.release import open_release
    from rsna19_kedro.detector.self_test import self_test

    release = open_release(folder)
    click.echo(f"Checksums: right ({release.title})")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = Detector.load(release, device)
    click.echo("Names and shapes of the tensors: right")
    result = self_test(loaded)
    click.echo(f"Same probabilities twice: {'yes' if result.repeatable else 'NO'}")
    click.echo(
        f"Synthetic head, probability of any: {result.healthy:.3f} without and "
        f"{result.bleeding:.3f} with an intraparenchymal haemorrhage"
        + (" (random weights: these numbers mean nothing)" if release.random else "")
    )
    click.echo(f"Time per slice: {result.seconds_per_slice:.1f} s ({device.type})")


def _check_model(project: Path, name: str | None) -> None:
    """Refuse the name of a model that is neither known nor has results.

    Raises:
        ParameterError: It is unknown.
    """
    folders = (project / "data").glob("0[67]_*/*/fold_[0-4]")
    known = dict.fromkeys([*ZOO, *sorted(path.parent.name for path in folders)])
    if name is not None and name not in known:
        raise ParameterError(describe_unknown("model", name, known))


def _of_model(project: Path, model: str | None, resume: bool) -> list[Path]:
    """Folders of a model, or with ``resume`` of unfinished work, of one or of all models."""
    data, name = project / "data", model or "*"
    patterns = (
        [f"06_models/{name}/fold_[0-4]/resume", f"07_model_output/{name}/fold_[0-4]/*_parts"]
        if resume
        else [f"06_models/{name}", f"07_model_output/{name}"]
    )
    return [path for pattern in patterns for path in data.glob(pattern) if _size(path)]


def _size_text(size: int) -> str:
    unit, name = next((unit for unit in ((1e9, "GB"), (1e6, "MB")) if size >= unit[0]), (1e3, "kB"))
    return f"{size / unit:.1f} {name}"


def _size(path: Path) -> int:
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in paths if file.is_file())
