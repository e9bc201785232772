"""Graph of the report: one node per table and figure, then the page."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.context import current_scope
from rsna19_kedro.scope import Scope

from . import nodes

PARAMETERS = "params:reporting"
EVERY_MODEL = ["level1_oof", "stacked_oof"]
SECOND_LEVEL = ["level2_scores", "level2_choice"]


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Build the report pipeline for the models and folds of the scope."""
    scope = scope or current_scope()
    histories = [f"{model}.fold_{fold}.history" for model in scope.models for fold in scope.folds]
    return Pipeline(
        [*_data_nodes(), *_model_nodes(histories), *_second_level_nodes(), *_page_nodes()],
        namespace="reporting",
        prefix_datasets_with_namespace=False,
    )


def _node(
    function: Callable[..., Any],
    inputs: str | list[str] | dict[str, str],
    outputs: str | list[str],
) -> Node:
    return Node(function, inputs, outputs, name=function.__name__)


def _data_nodes() -> list[Node]:
    return [
        _node(
            nodes.count_data,
            ["slice_index", "volume_index", "folds"],
            ["fold_statistics", "tag_statistics", "class_correlations"],
        ),
        _node(nodes.plot_folds, "fold_statistics", "fold_figure"),
        _node(nodes.plot_scanner, ["slice_index", "volume_index"], "scanner_figure"),
    ]


def _model_nodes(histories: list[str]) -> list[Node]:
    return [
        _node(nodes.collect_histories, histories, "training_histories"),
        _node(nodes.plot_learning_curves, "training_histories", "learning_curves_figure"),
        _node(nodes.take_chosen, ["level1_oof", "level2_oof", "level2_choice"], "stacked_oof"),
        _node(nodes.score_models, EVERY_MODEL, "first_level_metrics"),
        _node(nodes.score_folds, [*EVERY_MODEL, PARAMETERS], "fold_scores"),
        _node(nodes.score_studies, ["stacked_oof", PARAMETERS], "study_scores"),
        _node(nodes.plot_decision, "stacked_oof", "decision_figure"),
        _node(nodes.plot_roc, EVERY_MODEL, "roc_figure"),
        _node(nodes.plot_calibration, [*EVERY_MODEL, PARAMETERS], "calibration_figure"),
    ]


def _second_level_nodes() -> list[Node]:
    return [
        _node(nodes.plot_second_level, SECOND_LEVEL, "second_level_figure"),
        _node(nodes.plot_simplex_weights, "level2_weights", "simplex_weights_figure"),
        _node(nodes.find_worst, ["stacked_oof", PARAMETERS], "worst_slices"),
        _node(nodes.rank_studies, ["stacked_oof", PARAMETERS], "ranked_studies"),
        _node(nodes.picture_worst, ["worst_slices", "volumes", PARAMETERS], "worst_slice_pictures"),
    ]


def _page_nodes() -> list[Node]:
    summary = ["stacked_oof", *SECOND_LEVEL, "level1_oof", "test_slices", "submission_average"]
    summary += ["fold_notes", "download_facts"]
    tables = [
        "report_summary",
        "fold_statistics",
        "tag_statistics",
        "class_correlations",
        "training_histories",
        "first_level_metrics",
        "level2_scores",
        "stacked_oof",
        "worst_slices",
        "worst_slice_pictures",
        "fold_scores",
        "study_scores",
        "ranked_studies",
        "origins",
    ]
    described = ["report_summary", "study_scores", "fold_scores", "fold_statistics", "origins"]
    return [
        _node(
            nodes.summarise, {n: n for n in summary} | {"parameters": PARAMETERS}, "report_summary"
        ),
        _node(nodes.write_model_card, described, "model_card"),
        # A list, because the figures are positional arguments.
        _node(nodes.compose_report, [*tables, PARAMETERS, *nodes.FIGURES], "report"),
    ]
