"""Prediction of new DICOM studies: probabilities, a report with pictures."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
