"""Formatting of numbers and pictures on the pages, shared by all templates."""

import base64
import math
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rsna19_kedro.evaluation.baselines import HISTOGRAM, INNER_CHOICE, MEAN, PREVALENCE
from rsna19_kedro.progress import duration
from rsna19_kedro.provenance.history import Origin

DASH = "\N{EN DASH}"
"""Shown for unknown or undefined values."""

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
    """Format a whole number with thousands separators: 674,258."""
    return DASH if value is None or _missing(float(value)) else f"{int(value):,}"


def number(value: float | None, digits: int) -> str:
    """Format a number with fixed digits and a true minus sign; a dash if it is undefined."""
    if value is None or _missing(float(value)):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def share(part: float, whole: float) -> str:
    """Format a part of a whole in per cent: 14.4 %; below 0.1 % with two digits."""
    if not whole:
        return DASH
    percent = 100 * part / whole
    digits = 1 if percent == 0 or percent >= 0.1 else 2
    return f"{percent:.{digits}f}{THIN_SPACE}%"


def span(interval: Mapping[str, float | None], digits: int) -> str:
    """Format the ends of an interval (``low``, ``high``): 0.0560 to 0.0592."""
    if _missing(interval["low"]) or _missing(interval["high"]):
        return DASH
    return f"{number(interval['low'], digits)} to {number(interval['high'], digits)}"


def words(name: str) -> str:
    """Return the display name of a candidate; unknown names only lose their underscores."""
    return _WORDS.get(name, name.replace("_", " "))


def breakable(name: str) -> Markup:
    """Allow line breaks after the underscores of a long identifier."""
    return Markup("_<wbr>").join(name.split("_"))


def picture(data: bytes, mime: str) -> str:
    """Encode a picture as a data URI, so that the page needs no other file."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def percent(value: float) -> str:
    """Format a probability in per cent: 14.4 %."""
    return f"{100 * float(value):.1f} %"


def period(made: Origin) -> str:
    """Format when results were made: 2026-11-26 19:40 UTC, or 2026-11-26 19:40 to 20:15 UTC."""
    first, last = (moment[:16].replace("T", " ") for moment in (made.first, made.last))
    if first == last:
        return f"{first} UTC"
    return f"{first} to {last.removeprefix(first[:11])} UTC"


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
    """Load a template of this package, with :data:`FILTERS`.

    Args:
        name: File in ``evaluation/templates``.
        autoescape: Whether to escape values: yes for HTML, no for Markdown.
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
