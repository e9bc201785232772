"""Facts about a run that several hooks need."""

from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol


def is_new_study(run_params: dict[str, Any]) -> bool:
    """Whether the run predicts new studies and does nothing else."""
    return set(run_params.get("pipeline_names") or ()) == {"new_study"}


def dataset_path(catalog: CatalogProtocol, name: str, project: str | Path) -> str:
    """Path of a dataset, relative to the project if it is inside it."""
    # Datasets have no public attribute for their path; all datasets used here have this one.
    path, root = Path(str(catalog[name]._filepath)).resolve(), Path(project).resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
