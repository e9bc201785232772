"""Metrics, calibration and figures."""
