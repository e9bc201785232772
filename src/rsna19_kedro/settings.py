"""Project settings that Kedro reads."""

from typing import Any

from rsna19_kedro.context import ScopedContext
from rsna19_kedro.hooks.earlier_results import OneSource
from rsna19_kedro.hooks.log_file import RunLogFile
from rsna19_kedro.hooks.need_every_fold import NeedEveryFold
from rsna19_kedro.hooks.new_study_run import NewStudyRun
from rsna19_kedro.hooks.records import Records
from rsna19_kedro.hooks.result_summary import ResultSummary
from rsna19_kedro.hooks.reuse import TruthfulReuse
from rsna19_kedro.hooks.run_log import NodeProgress, QuietLogs

CONTEXT_CLASS = ScopedContext
HOOKS = (
    RunLogFile(),
    QuietLogs(),
    NeedEveryFold(),
    OneSource(),
    TruthfulReuse(),
    NewStudyRun(),
    Records(),
    NodeProgress(),
    ResultSummary(),
)
# kedro-viz records only runs of Kedro's SequentialRunner and warns about all other runners.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz",)
CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
