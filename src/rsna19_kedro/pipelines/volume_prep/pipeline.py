"""Wiring of the preparation of volumes."""

from kedro.pipeline import Pipeline, node

from rsna19_kedro.scope import Scope

from .nodes import draw_previews, fit_hu_lut, label_masks, prepare_volumes

_PREPARED = ["volumes", "volume_index", "slice_index"]


def create_pipeline(scope: Scope) -> Pipeline:
    """Volumes, their manifest, the look-up table, previews and masks; the same for every scope."""
    return Pipeline(
        [
            node(
                prepare_volumes,
                inputs=["slice_index", "raw_download", "volumes_folder", "params:volume_prep"],
                outputs=["volumes", "volume_index"],
                name="prepare_volumes",
            ),
            node(
                fit_hu_lut,
                inputs=[*_PREPARED, "params:volume_prep"],
                outputs=["hu_lut", "hu_lut_figure"],
                name="fit_hu_lut",
            ),
            node(
                draw_previews,
                inputs=[*_PREPARED, "labels", "params:volume_prep"],
                outputs=["previews", "preview_index"],
                name="draw_previews",
            ),
            node(
                label_masks,
                inputs=[
                    *("slice_index", "volume_index", "raw_download", "masks_folder"),
                    "params:volume_prep",
                ],
                outputs=["masks", "mask_labels"],
                name="label_masks",
            ),
        ]
    )
