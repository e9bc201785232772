"""Five folds by patient, for each set of labels."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
