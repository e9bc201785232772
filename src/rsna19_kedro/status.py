"""What is up to date in a project, and what is not."""

from pathlib import Path
from typing import Any

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rsna19_kedro.provenance.plan import Plan
from rsna19_kedro.runners.reuse import Reuse


def project_plan(
    project: Path,
    env: str | None = None,
    params: dict[str, Any] | None = None,
    *,
    pipeline: str = "__default__",
    with_files: bool = True,
) -> Plan:
    """Say of each node of a project whether its results are up to date; nothing is changed.

    Args:
        project: Folder of the project.
        env: Its environment; ``None`` for the default.
        params: Parameters as for ``--params``.
        pipeline: Name of the pipeline.
        with_files: Whether to look at the raw data too.
    """
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env=env, runtime_params=params) as session:
        assert isinstance(session, KedroSession)
        catalog = session.load_context().catalog
        return Reuse(catalog, with_files=with_files).plan(pipelines[pipeline])
