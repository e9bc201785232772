"""The second level: candidates judged by patient, the best one fitted, both submissions."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
