"""Training of the first-level models, one namespace a model and one inside it a fold."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
