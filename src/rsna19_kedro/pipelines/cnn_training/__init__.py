"""Training of the first-level models: one namespace per model, one sub-namespace per fold."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
