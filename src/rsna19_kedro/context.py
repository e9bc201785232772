"""Context of a session: sets the scope before any pipeline is built."""

import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines, settings
from kedro.io import CatalogProtocol
from kedro.utils import find_kedro_project
from pluggy import PluginManager

from rsna19_kedro.catalog import SuggestingCatalog
from rsna19_kedro.commands import SessionOptions, note_session
from rsna19_kedro.prediction.output_folder import check_output, default_output
from rsna19_kedro.scope import (
    GLOBAL_KEYS,
    NEW_STUDY_KEYS,
    Scope,
    check_runtime_params,
    resolve_scope,
)

_PACKAGE = "rsna19_kedro"
_session_scope: Scope | None = None
_default_outputs: WeakKeyDictionary[PluginManager, str] = WeakKeyDictionary()


class ScopedContext(KedroContext):
    """Context that restricts the pipeline registry to the models and folds of its session.

    Kedro caches the registry per process and gives it no access to runtime parameters. So each
    new context stores its scope and makes Kedro rebuild the registry. A hook would be called
    too late for the second session of a process.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        global _session_scope  # noqa: PLW0603 - Kedro's registry is per process too
        runtime = dict(self.config_loader.runtime_params or {})
        if "source" in runtime:
            # A session has several contexts but one hook manager: all share one default name.
            default = _default_outputs.setdefault(self._hook_manager, default_output(runtime))
            runtime["output"] = check_output(runtime.get("output", default))
            self.config_loader.runtime_params = runtime
        check_runtime_params(runtime, _parameter_keys(self.config_loader))
        _session_scope = resolve_scope(_globals(self.config_loader), runtime)
        kept = {key: value for key, value in runtime.items() if key not in NEW_STUDY_KEYS}
        note_session(SessionOptions.of(self.env, kept))
        pipelines.configure(f"{_PACKAGE}.pipeline_registry")

    @property
    def catalog(self) -> CatalogProtocol:
        """Kedro's catalog, with suggestions for misspelt names."""
        # Private in Kedro, whose property of this name has no way to choose the class.
        return self._get_catalog(SuggestingCatalog)


def current_scope() -> Scope:
    """Scope of the newest session, or of ``globals.yml`` if there is none.

    Commands such as ``kedro registry list`` have no session.
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
    """Top-level keys of the parameter files, without those of the runtime parameters."""
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
