"""One page that a person can read, and the figures on it."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
