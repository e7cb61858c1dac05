"""Pages from the templates beside this file: self-contained, no script, everything but drawings escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bifair_dist.files import write_text


@dataclass(slots=True)
class Part:
    """A section of a page; what it has not is left out."""

    title: str
    text: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)
    """A cell is a value, a pair (above, a small line below) or links by their text."""
    figures: list[tuple[str, str]] = field(default_factory=list)
    """Drawings (SVG) and captions."""
    small: Sequence[str] = ()
    """Lines below the table."""
    warnings: Sequence[str] = ()
    words: Sequence[int] = ()
    """Columns that are set flush left and may wrap."""
    kinds: Sequence[str] = ()
    """Classes of the rows: `front`, `failed` or none."""
    folded: bool = False


def rendered(template: str, **shown: Any) -> str:
    """The page by a template: `parts.html.jinja` takes title, lead, about and parts."""
    loader = FileSystemLoader(Path(__file__).parent)
    found = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    found.filters |= {"value": value, "commas": "{:,}".format}
    return found.get_template(template).render(shown)


def write_page(path: Path, template: str, **shown: Any) -> None:
    """Write it, all or nothing."""
    write_text(path, rendered(template, **shown))


def value(given: Any) -> str:
    """Four digits of a number, a dash where it is none; anything else as it is."""
    if given is None or (isinstance(given, float) and not math.isfinite(given)):
        return "-"
    return f"{given:.4g}" if isinstance(given, float) else str(given)
