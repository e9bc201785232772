"""Parsing of numbers in DICOM files."""

from pydicom.multival import MultiValue


def parse_numbers(text: object, expected: int | None = None) -> list[float | None]:
    """Parse the values of a DS or IS attribute.

    A comma in a number without a point is read as a decimal comma, which some exports write
    (fo-dicom issue 1296). If several values are expected, commas are also accepted as separators
    instead of backslashes (pydicom issue 173).

    Args:
        text: Values separated by backslashes, pydicom's value, or None.
        expected: Number of values of the attribute, if known.

    Returns:
        The values; None for each one that is not a finite number.
    """
    if text is None or text == "":
        return []
    if isinstance(text, MultiValue | list | tuple):
        parts = [str(part) for part in text]
    else:
        parts = str(text).split("\\")
    if expected is not None and expected > 1 and len(parts) == 1:
        parts = parts[0].split(",")
    return [_number(part) for part in parts]


def _number(text: str) -> float | None:
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
