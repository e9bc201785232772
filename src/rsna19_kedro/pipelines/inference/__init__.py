"""Prediction of the held-out folds and of the test slices, with all test-time augmentations."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
