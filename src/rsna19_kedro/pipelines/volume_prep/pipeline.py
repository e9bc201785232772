"""Pipeline ``volume_prep``."""

from kedro.pipeline import Pipeline

from rsna19_kedro.pipelines.grouped_node import GroupedNode
from rsna19_kedro.scope import Scope

from .nodes import draw_previews, fit_hu_lut, label_masks, plot_hu_lut, prepare_volumes

PARAMETERS = "params:volume_prep"


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Prepare volumes, look-up table, previews and masks; the same for every scope."""
    prepared = ["volumes", "volume_index", "slice_index"]
    return Pipeline(
        [
            GroupedNode(
                prepare_volumes,
                ["slice_index", "raw_download", "volumes_folder", PARAMETERS],
                ["volumes", "volume_index"],
                name="prepare_volumes",
            ),
            GroupedNode(fit_hu_lut, [*prepared, PARAMETERS], "hu_lut", name="fit_hu_lut"),
            GroupedNode(plot_hu_lut, [*prepared, PARAMETERS], "hu_lut_figure", name="plot_hu_lut"),
            GroupedNode(
                draw_previews,
                [*prepared, "labels", PARAMETERS],
                ["previews", "preview_index"],
                name="draw_previews",
            ),
            GroupedNode(
                label_masks,
                ["slice_index", "volume_index", "raw_download", "masks_folder", PARAMETERS],
                ["masks", "mask_labels"],
                name="label_masks",
            ),
        ],
        namespace="volume_prep",
        prefix_datasets_with_namespace=False,
    )
