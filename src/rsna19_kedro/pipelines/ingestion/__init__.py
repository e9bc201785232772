"""From raw DICOM and label CSVs to a table of slices, a table of labels and a report."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
