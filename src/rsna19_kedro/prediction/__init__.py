"""Whole-study prediction with test-time augmentation (TTA)."""
