"""From slices to aligned, cropped volumes in HU, the look-up table, previews and masks."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
