"""Lines, lists and tables of the ingestion report, as Markdown."""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd
from pydicom.uid import UID

SHOWN = 20
"""Greatest number of names that a list in the report shows."""


def count_line(text: str, names: Iterable[str], note: str = "", *, of: int | None = None) -> str:
    """Count names and list the first of them; all names out of ``of`` are not listed."""
    listed = list(names)
    if not listed:
        return f"{text}: 0"
    detail = f" {note}." if note else ""
    if len(listed) == of:
        return f"{text}: **all {of:,}**.{detail}"
    return f"{text}: **{len(listed):,}**.{detail} {first_names([f'`{name}`' for name in listed])}"


def first_names(names: Sequence[str]) -> str:
    """List the first names and count the others."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def count_values(
    used: pd.DataFrame, title: str, text: str, **columns: Callable[[object], str]
) -> str:
    """Count slices by the values of some columns, filled into a text, the commonest first."""
    counts = used.groupby(list(columns), dropna=False).size().sort_values(ascending=False)
    parts = []
    for values, count in counts.head(8).items():
        several = values if isinstance(values, tuple) else (values,)
        words = [show(value) for show, value in zip(columns.values(), several, strict=True)]
        parts.append(f"{text.format(*words)}: {count:,}")
    if parts:
        parts[0] += " slices"
    more = f"; {len(counts) - 8} other values" if len(counts) > 8 else ""
    return f"{title}: {'; '.join(parts)}{more}"


def number_text(value: object) -> str:
    """Format a number or text of a header; missing values are named."""
    if pd.isna(value):
        return "not given"
    return value if isinstance(value, str) else f"{value:g}"


def sign_text(value: object) -> str:
    """Describe PixelRepresentation (0028,0103)."""
    return "sign not given" if pd.isna(value) else "signed" if value else "unsigned"


def syntax_name(value: object) -> str:
    """Name a transfer syntax (0002,0010) without its suffix in brackets."""
    return UID(value).name.split(" (")[0] if isinstance(value, str) and value else "not given"


def bullet_list(lines: Iterable[str]) -> str:
    """Make a list."""
    return "\n".join(f"- {line}" for line in lines)


def markdown_table(frame: pd.DataFrame, corner: str) -> str:
    """Make a table; ``corner`` is the title of the first column, which is the index."""
    head = [f"| {corner} | {' | '.join(map(str, frame.columns))} |"]
    head.append("|---|" + "---:|" * frame.shape[1])
    for row in frame.itertuples(name=None):
        head.append(f"| {row[0]} | {' | '.join(f'{value:,}' for value in row[1:])} |")
    return "\n".join(head)
