"""Recipes, data on the device and the Lightning module."""
