"""How numbers and pictures are written on a page: one rule each, used by every table."""

import base64
import math
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rsna19_kedro.evaluation.baselines import HISTOGRAM, INNER_CHOICE, MEAN, PREVALENCE
from rsna19_kedro.provenance.history import Origin
from rsna19_kedro.provenance.plan import duration

DASH = "\N{EN DASH}"
"""Stands for what is not known or not defined."""

MINUS = "\N{MINUS SIGN}"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


_WORDS = {
    INNER_CHOICE: "choice made on inner folds",
    MEAN: "plain average",
    "weighted_mean": "average weighted by loss",
    "gaussian": "average smoothed along slices",
    "simplex": "simplex weights",
    "catboost": "CatBoost",
    "mlp": "one hidden layer (MLP)",
    "sequence": "sequence network",
    "blend": "blend of the candidates",
    PREVALENCE: "prevalence of each class",
    HISTOGRAM: "HU histogram, logistic regression",
}


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def count(value: float | None) -> str:
    """Write a whole number with thousands separators: 674,258."""
    return DASH if value is None or _missing(float(value)) else f"{int(value):,}"


def number(value: float | None, digits: int) -> str:
    """Write a number with fixed digits, a true minus sign, and a dash where there is none."""
    if value is None or _missing(float(value)):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def share(part: float, whole: float) -> str:
    """Write a part of a whole in per cent: 14.4 %; below 0.1 % with two digits."""
    if not whole:
        return DASH
    percent = 100 * part / whole
    digits = 1 if percent == 0 or percent >= 0.1 else 2
    return f"{percent:.{digits}f}{THIN_SPACE}%"


def span(interval: Mapping[str, float | None], digits: int) -> str:
    """Write the ends of an interval (``low``, ``high``): 0.0560 to 0.0592."""
    if _missing(interval["low"]) or _missing(interval["high"]):
        return DASH
    return f"{number(interval['low'], digits)} to {number(interval['high'], digits)}"


def words(name: str) -> str:
    """Write the name of a candidate in words; unknown ones lose their underscores only."""
    return _WORDS.get(name, name.replace("_", " "))


def breakable(name: str) -> Markup:
    """Let a long identifier break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def picture(data: bytes, mime: str) -> str:
    """Write a picture as a data URI, so that the page needs no second file."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def percent(value: float) -> str:
    """Write a probability in per cent: 14.4 %."""
    return f"{100 * float(value):.1f} %"


def period(made: Origin) -> str:
    """Write when results were made: 2026-11-26 19:40, or from the first to the last."""
    first, last = (moment[:16].replace("T", " ") for moment in (made.first, made.last))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


FILTERS = {
    "count": count,
    "number": number,
    "share": share,
    "span": span,
    "words": words,
    "breakable": breakable,
    "picture": picture,
    "percent": percent,
    "period": period,
    "duration": duration,
}
"""Filters of the page's templates. ``count`` replaces Jinja's own alias of ``length``."""


def template(name: str, *, autoescape: bool = True) -> Template:
    """Read a template of this package; all of :data:`FILTERS` can be used in it.

    Args:
        name: File in ``evaluation/templates``.
        autoescape: Whether values are escaped, as a page needs and Markdown does not.
    """
    environment = Environment(
        loader=PackageLoader("rsna19_kedro.evaluation", "templates"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(FILTERS)
    return environment.get_template(name)
