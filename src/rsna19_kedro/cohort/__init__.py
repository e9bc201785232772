"""Composition of the data set: layout of a download, labels, folds. No torch, no Kedro."""
