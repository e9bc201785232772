"""Which studies there are: layout of a download, labels, folds by patient. No torch, no Kedro."""
