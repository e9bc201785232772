"""Wiring of the prediction of new studies."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.scope import Scope

from .nodes import predict_new, prepare_source, refuse_incomplete, report_new, write_dicom


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Predict and report the studies of a source; independent of the scope."""
    return Pipeline(
        [
            Node(
                prepare_source,
                inputs={
                    "volumes": "new_volumes_folder",
                    "native": "new_native_folder",
                    "params": "params:new_study",
                },
                outputs=[
                    "new_volumes",
                    "new_native",
                    "new_slices",
                    "new_series",
                    "new_sources",
                    "new_findings",
                ],
                name="prepare_source",
            ),
            Node(
                predict_new,
                inputs={
                    "volumes": "new_volumes",
                    "native": "new_native",
                    "slices": "new_slices",
                    "findings": "new_findings",
                    "models": "models_folder",
                    "heat": "new_heat_folder",
                    "reports": "reports_folder",
                    "params": "params:new_study",
                    "prediction": "params:prediction",
                },
                outputs=[
                    *("new_predictions", "new_predictions_csv", "new_predictions_json"),
                    "new_summary",
                ],
                name="predict_new",
                tags="gpu",
            ),
            Node(
                report_new,
                inputs={
                    "volumes": "new_volumes",
                    "predictions": "new_predictions",
                    "series": "new_series",
                    "findings": "new_findings",
                    "summary": "new_summary",
                    "heat": "new_heat_folder",
                    "pages": "new_pages_folder",
                    "params": "params:new_study",
                },
                outputs="new_report",
                name="report_new",
            ),
            Node(
                write_dicom,
                inputs={
                    "volumes": "new_volumes",
                    "predictions": "new_predictions",
                    "sources": "new_sources",
                    "summary": "new_summary",
                    "heat": "new_heat_folder",
                    "folder": "new_dicom_folder",
                    "params": "params:new_study",
                },
                outputs="new_dicom",
                name="write_dicom",
            ),
            Node(
                refuse_incomplete,
                inputs=["new_findings", "new_dicom", "new_predictions", "new_report"],
                outputs=None,
                name="refuse_incomplete",
            ),
        ]
    )
