"""Names of the rows in the second level's scores that the user did not name."""

from typing import Final

MEAN: Final = "mean"
"""Plain average of the models; the other candidates are compared with it."""
INNER_CHOICE: Final = "inner_choice"
"""The candidate that the inner folds choose, anew for each outer fold."""
PREVALENCE: Final = "prevalence"
"""Each class's share of positives in the training folds."""
HISTOGRAM: Final = "hu_histogram"
"""Logistic regression on HU histograms."""

REFERENCES: Final = (PREVALENCE, HISTOGRAM)
"""Rows that no network takes part in."""
RESERVED: Final = (INNER_CHOICE, *REFERENCES)
"""Names that a candidate in the parameters must not have."""
