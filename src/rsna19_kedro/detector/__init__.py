"""A public detector by other authors, with their weights: docs/detector.md."""
