"""Numbers as DICOM files spell them."""

from pydicom.multival import MultiValue


def parse_numbers(text: object, expected: int | None = None) -> list[float | None]:
    """Parse the values of a DS or IS attribute.

    A comma in a number without a point is a decimal comma, which some exports write
    (fo-dicom issue 1296). Where ``expected`` values are separated by commas instead of
    backslashes (pydicom issue 173), they are taken as such.

    Args:
        text: Values separated by backslashes, pydicom's value, or None.
        expected: How many values the attribute has, if that is known.

    Returns:
        The values; None for one that is not a finite number.
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
