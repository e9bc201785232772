"""Whole-study prediction and test-time variants."""
