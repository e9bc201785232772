"""Names of the built-in rows of the second level's scores."""

from typing import Final

MEAN: Final = "mean"
"""Plain average of the models; the other candidates are compared with it."""
INNER_CHOICE: Final = "inner_choice"
"""The candidate chosen on the inner folds of each outer fold."""
PREVALENCE: Final = "prevalence"
"""Each class's share of positives in the training folds."""
HISTOGRAM: Final = "hu_histogram"
"""Logistic regression on HU histograms."""

REFERENCES: Final = (PREVALENCE, HISTOGRAM)
"""Rows that use no network."""
RESERVED: Final = (INNER_CHOICE, *REFERENCES)
"""Names that a candidate in the parameters must not have."""
