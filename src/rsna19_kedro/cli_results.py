"""``kedro rsna19``: what is up to date, and what can be removed."""

import json
import shutil
from pathlib import Path

import click

from rsna19_kedro.cli_params import parse_params
from rsna19_kedro.errors import counted
from rsna19_kedro.provenance.plan import State, duration


@click.group(name="rsna19")
def rsna19() -> None:
    """Stored results: what is up to date, what can be removed."""


@rsna19.command()
@click.option("--env", "-e", default=None, help="Environment, as for kedro run.")
@click.option("--params", default="", help="Parameters, as for kedro run.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--raw/--no-raw", default=True, help="Whether to look at the raw data too.")
def status(env: str | None, params: str, as_json: bool, raw: bool) -> None:
    """Say which results are missing or out of date, and why."""
    from rsna19_kedro.status import project_plan

    plan = project_plan(Path.cwd(), env, parse_params(params), with_files=raw)
    if as_json:
        click.echo(json.dumps(plan.as_json(), indent=1))
        return
    for state in State:
        nodes = plan.of(state)
        if nodes:
            click.echo(f"{state.value:>15}: {counted(len(nodes), 'node')}")
    for line in plan.lines():
        click.echo(line)
    if plan.to_run:
        options = f" --env {env}" if env else ""
        options += f' --params "{params}"' if params else ""
        click.echo(f"Bring it up to date: kedro run{options} --only-missing-outputs")
        click.echo(f"Recorded time of the results that it may replace: {duration(plan.seconds)}")


@rsna19.command()
@click.option("--resume", is_flag=True, help="States of unfinished trainings and predictions.")
@click.option("--model", default=None, help="Only this model; without --resume, all of it.")
@click.option("--yes", is_flag=True, help="Remove; without it, only list.")
def clean(resume: bool, model: str | None, yes: bool) -> None:
    """List, or remove, what unfinished work or a model has left."""
    if not resume and model is None:
        raise click.UsageError("Say what to remove: --resume, --model NAME or both.")
    data, name = Path.cwd() / "data", model or "*"
    patterns = (
        [f"06_models/{name}/fold_[0-4]/resume", f"07_model_output/{name}/fold_[0-4]/*_parts"]
        if resume
        else [f"06_models/{name}", f"07_model_output/{name}"]
    )
    found = [path for pattern in patterns for path in sorted(data.glob(pattern)) if _size(path)]
    for path in found:
        click.echo(f"{_size(path) / 1e9:8.3f} GB  {path.relative_to(data.parent)}")
        if yes:
            shutil.rmtree(path)
    what = "Removed" if yes else "Would remove (add --yes)"
    click.echo(f"{what}: {counted(len(found), 'folder')}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
