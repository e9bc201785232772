"""Torch modules: encoders and the slice network."""
