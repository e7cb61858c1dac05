"""The page of a sweep or a study, by one template: what it is about, then parts with a table, warnings and drawings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from bifair_dist.experiments.table import MEASURES, Entry, moved, point_text, shown
from bifair_dist.report.page import write_page

Row = tuple[str, Sequence[object]]
"""Class (`front`, `failed` or none) and cells."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section. `figures`: drawings (SVG) with their captions."""

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Row] = ()
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()


def write(path: Path, title: str, lead: Sequence[str], parts: Sequence[Part]) -> None:
    """Write the page, all or nothing; everything but drawings and links is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True, trim_blocks=True).get_template("page.html.jinja")
    write_page(path, title, [template.render(title=title, lead=[line for line in lead if line], parts=parts)])


def link(text: object, target: Path, here: Path) -> Markup:
    """A link to a folder from a page in the folder `here`."""
    return Markup('<a href="{}/">{}</a>').format(os.path.relpath(target, here), text)


def tested(
    title: str, entries: Sequence[Entry], reference: str, here: Path, figures: Sequence[tuple[str, str]] = ()
) -> Part:
    """The table of test figures, linked to the runs, and drawings."""
    rows: list[Row] = []
    for e in entries:
        values = [e.values[key] for key in MEASURES]
        numbers = [_two(shown(v), "" if e.method == reference else moved(v)) for v in values]
        runs = Markup(" ").join(link(trial.seed, trial.folder, here) for trial in e.trials)
        front = f"{e.front}/{len(e.tried)}"
        name = _two(e.method, point_text(e.point) if e.point else "")
        rows.append(("", [name, *numbers, f"{e.area:.4f}", front, f"{e.seconds:.2f}", e.epochs, runs]))
    head = ["method", *MEASURES.values(), "hypervolume", "on the front", "s/epoch", "epochs used", "runs by seed"]
    return Part(title, head, rows, warnings=[e.warning for e in entries if e.warning], figures=figures)


def _two(above: str, below: str) -> Markup | str:
    return Markup("{}<br><small>{}</small>").format(above, below) if below else above
