"""pydicom without its noise."""

import logging
import warnings

from pydicom import config


def quiet_pydicom() -> None:
    """Keep pydicom from warning about every value that is not to the letter of the standard.

    The challenge's UIDs (``ID_000012eaf``) are no valid DICOM UIDs, and pydicom warns once a
    value, which would be millions of lines. Call it in every process that reads DICOM; calling
    it again does no harm. What matters about a file is checked and reported by this package.
    """
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
