"""Prediction of new DICOM studies: probabilities and a report with images."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
