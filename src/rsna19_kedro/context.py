"""The session's context: it fixes the scope before any pipeline is built."""

import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines, settings
from kedro.utils import find_kedro_project
from pluggy import PluginManager

from rsna19_kedro.prediction.output_folder import check_output, default_output
from rsna19_kedro.scope import GLOBAL_KEYS, Scope, check_runtime_params, resolve_scope

_PACKAGE = "rsna19_kedro"
_session_scope: Scope | None = None
_default_outputs: WeakKeyDictionary[PluginManager, str] = WeakKeyDictionary()


class ScopedContext(KedroContext):
    """A context that narrows the pipeline registry to its session's models and folds.

    Kedro caches the registry for the life of a process and gives it no access to runtime
    parameters; so each new context stores its scope and asks Kedro to build the registry
    anew. A hook would come too late for the second session of a process.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        global _session_scope  # noqa: PLW0603 - Kedro's registry is per process, so is this
        runtime = dict(self.config_loader.runtime_params or {})
        if "source" in runtime:
            # Kedro makes several contexts in a session, with one hook manager: one name for all.
            default = _default_outputs.setdefault(self._hook_manager, default_output(runtime))
            runtime["output"] = check_output(runtime.get("output", default))
            self.config_loader.runtime_params = runtime
        check_runtime_params(runtime, _parameter_keys(self.config_loader))
        _session_scope = resolve_scope(_globals(self.config_loader), runtime)
        pipelines.configure(f"{_PACKAGE}.pipeline_registry")


def current_scope() -> Scope:
    """Scope of the newest session, or of ``globals.yml`` when there is none.

    ``kedro registry list`` and other commands without a session come the second way.
    """
    if _session_scope is not None:
        return _session_scope
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    source = str(project / settings.CONF_SOURCE)
    loader = OmegaConfigLoader(source, env=os.getenv("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS)
    return resolve_scope(_globals(loader))


def _globals(loader: Any) -> dict[str, Any]:
    try:
        return dict(loader["globals"])
    except MissingConfigException:
        return {}


def _parameter_keys(loader: Any) -> set[str]:
    """Top-level keys of the parameter files, without what the runtime added to them."""
    runtime = loader.runtime_params
    plain = OmegaConfigLoader(
        loader.conf_source,
        env=loader.env,
        base_env=loader.base_env,
        default_run_env=loader.default_run_env,
        merge_strategy=loader.merge_strategy,
        runtime_params={key: runtime[key] for key in GLOBAL_KEYS if key in runtime},
    )
    return set(plain["parameters"]) - set(GLOBAL_KEYS)
