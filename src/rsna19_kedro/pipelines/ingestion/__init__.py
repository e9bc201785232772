"""Raw DICOM and label CSVs to one table of slices, one of labels and a report."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
