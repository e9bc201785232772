"""Five folds by patient, for every set of labels."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
