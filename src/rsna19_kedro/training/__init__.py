"""Recipes, training samples and the training loop."""
