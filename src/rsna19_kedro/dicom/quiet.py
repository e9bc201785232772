"""Suppression of pydicom's warnings."""

import logging
import warnings

from pydicom import config


def quiet_pydicom() -> None:
    """Stop pydicom from warning about every value that violates the standard.

    The challenge's UIDs (``ID_000012eaf``) are not valid DICOM UIDs, and one warning per value
    would be millions of lines. Call this in every process that reads DICOM, once or more often.
    This package checks and reports what matters about a file.
    """
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
