"""Synthetic studies in place of a download."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
