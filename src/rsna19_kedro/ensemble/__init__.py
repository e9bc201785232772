"""Second-level features and models."""

from rsna19_kedro.ensemble.candidate import Candidate
from rsna19_kedro.ensemble.collect import combine_oof, combine_test
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.registry import load_candidate

__all__ = ["Candidate", "FirstLevel", "combine_oof", "combine_test", "load_candidate"]
