"""Graph of the second level."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.context import current_scope
from rsna19_kedro.scope import Scope

from . import nodes

PARAMETERS = "params:stacking"
FOLDER = "params:level2_folder"


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Build the graph from first-level tables to submissions, for the scope's models and folds."""
    scope = scope or current_scope()
    pairs = [(model, fold) for model in scope.models for fold in scope.folds]
    oof = [f"{model}.fold_{fold}.oof" for model, fold in pairs]
    test = [f"{model}.fold_{fold}.test" for model, fold in pairs]
    return Pipeline(
        [*_selection_nodes(oof), *_prediction_nodes(test)],
        namespace="stacking",
        prefix_datasets_with_namespace=False,
    )


def _node(function: Callable[..., Any], inputs: list[str], outputs: str | list[str]) -> Node:
    return Node(function, inputs, outputs, name=function.__name__)


def _selection_nodes(oof: list[str]) -> list[Node]:
    histogram = ["volumes", "volume_index", "folds", PARAMETERS]
    # In this order: saving level2_oof removes the finished fits.
    nested = ["level2_decisions", "level2_oof"]
    scored = ["level1_oof", *nested[::-1], "histogram_oof", PARAMETERS]
    return [
        _node(nodes.collect_oof, ["folds", *oof], "level1_oof"),
        _node(nodes.judge_histogram, histogram, "histogram_oof"),
        _node(nodes.judge_candidates, ["level1_oof", PARAMETERS, FOLDER], nested),
        _node(nodes.score_candidates, scored, ["level2_scores", "level2_choice"]),
        _node(nodes.fit_final, ["level1_oof", "level2_choice", PARAMETERS], "level2_model"),
        _node(nodes.simplex_weights, ["level1_oof", "level2_model", PARAMETERS], "level2_weights"),
    ]


def _prediction_nodes(test: list[str]) -> list[Node]:
    averaged = ["level1_test", "raw_download", PARAMETERS]
    stacked = ["level2_test", "raw_download", PARAMETERS]
    return [
        _node(nodes.collect_test, ["test_slices", *test], "level1_test"),
        Node(
            nodes.predict_test_stacked,
            ["level2_model", "level1_test"],
            "level2_test",
            name="predict_test",
        ),
        _node(nodes.average_submission, averaged, "submission_average"),
        _node(nodes.stacked_submission, stacked, "submission_stacked"),
    ]
