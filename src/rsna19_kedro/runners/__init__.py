"""Kedro runners of this project."""

from rsna19_kedro.runners.gpu_runner import GPURunner

__all__ = ["GPURunner"]
