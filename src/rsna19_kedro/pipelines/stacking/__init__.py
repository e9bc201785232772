"""The second level: nested scoring of candidates, fit of the chosen one, submissions."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
