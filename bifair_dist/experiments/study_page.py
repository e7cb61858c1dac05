"""`report.html` of a study: per dataset and group table the plane of all points, and the table of the chosen ones.

The drawings are beside it as files, for papers and slides.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bifair_dist.experiments.cell import file_name
from bifair_dist.experiments.definition import Data, Study
from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.table import MEASURES, Entry, moved, note, point_text, shown
from bifair_dist.report.page import Markup, figure, table, with_ends, write_page
from bifair_dist.report.svg import INK, LINES, drawn, svg, write_svg
from bifair_dist.report.svg import figure as drawing


def write_study_page(path: Path, study: Study, rows: Sequence[tuple[Data, str, list[Entry]]]) -> None:
    """Write it, and `figures/<dataset>-<group>-validation.svg` and `-test.svg` beside it."""
    parts = [f"<h1>Study: {html.escape(study.name)}</h1>", f'<p class="lead">{html.escape(study.about)}</p>']
    parts += [f"<p>{html.escape(note(study))}</p>"]
    for data, group, entries in rows:
        parts.append(f"<h2>{html.escape(data.name)}, {html.escape(group)}</h2>")
        parts.append(_table(entries, study, path.parent))
        parts.append('<div class="figures">')
        if len(entries) <= len(_marks(entries, study.reference)):
            for split, draw, caption in _DRAWINGS:
                picture = draw(f"{data.name}, {group}: {split}", entries, study.reference, group)
                parts.append(figure(picture, caption))
                write_svg(path.parent / "figures" / f"{file_name(f'{data.name}-{group}')}-{split}.svg", picture)
        parts.append("</div>")
    write_page(path, f"Study: {study.name}", parts)


def _table(entries: Sequence[Entry], study: Study, here: Path) -> str:
    rows = []
    for e in entries:
        row = [with_ends(e.method, point_text(e.point) if e.point else "")]
        for key in MEASURES:
            value, reference = e.values[key], e.method == study.reference
            row.append(with_ends(shown(value), "" if reference else moved(value)))
        links = [
            f'<a href="{html.escape(os.path.relpath(cell.folder, here))}/">{cell.seed}</a>'
            for cell in sorted(e.cells, key=lambda c: c.seed)
        ]
        rows.append([*row, f"{e.front}/{len(e.tried)}", f"{e.seconds:.2f}", Markup(" ".join(links))])
    return table(["method", *MEASURES.values(), "on the front", "s/epoch", "runs"], rows)


@drawn
def _points(title: str, entries: Sequence[Entry], reference: str, group: str) -> str:
    made, axes = drawing(4.4, 4.8)
    for e, (colour, mark, dashes) in zip(entries, _marks(entries, reference), strict=False):
        there = [(r, cv) for r, cv in e.tried if math.isfinite(cv)]
        on = pareto_front([(-r, cv) for r, cv in there])
        front = sorted(point for point, best in zip(there, on, strict=True) if best)
        axes.plot([r for r, _ in there], [cv for _, cv in there], mark, color=colour, markersize=5, alpha=0.7)
        axes.plot(
            [r for r, _ in front],
            [cv for _, cv in front],
            mark,
            linestyle=dashes,
            color=colour,
            markersize=5,
            linewidth=1.1,
            label=e.method,
        )
    return _finished(made, axes, title, group, "validation recall")


@drawn
def _chosen(title: str, entries: Sequence[Entry], reference: str, group: str) -> str:
    made, axes = drawing(4.4, 4.8)
    for e, (colour, mark, _) in zip(entries, _marks(entries, reference), strict=False):
        recall, cv = e.values["recall"], e.values["cv"]
        spread = [0.0 if math.isnan(v.spread) else v.spread for v in (recall, cv)]
        axes.plot(recall.mean, cv.mean, mark, color=colour, markersize=6, label=e.method)
        axes.errorbar(recall.mean, cv.mean, xerr=spread[0], yerr=spread[1], color=colour, linewidth=1, capsize=2)
    return _finished(made, axes, title, group, "test recall")


_DRAWINGS = (
    ("validation", _points, "Validation, first seed: all points; lines join a method's front. Best: below right."),
    ("test", _chosen, "Test, mean and standard deviation over seeds, at the point chosen on validation."),
)


def _marks(entries: Sequence[Entry], reference: str) -> list[tuple[str, str, str]]:
    """Colour, mark and dashes: a star for the reference, which stands first; past twelve, marks in other colours."""
    first = [(INK, "*", "-")] if entries and entries[0].method == reference else []
    turned = [(LINES[i - 5][0], mark, dashes) for i, (_, mark, dashes) in enumerate(LINES)]
    return [*first, *LINES, *turned]


def _finished(made: Any, axes: Any, title: str, group: str, xlabel: str) -> str:
    axes.locator_params(axis="x", nbins=5)  # four digits each: more would touch
    axes.set_xlabel(f"{xlabel} (more is better)")
    axes.set_ylabel(f"CV of {group} (lower is fairer)")
    made.legend(loc="outside upper left", ncols=2)
    return svg(made, title)
