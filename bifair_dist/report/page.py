"""A self-contained page: no script, nothing from the network, and a policy that lets the browser hold it to that."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bifair_dist.files import write_text
from bifair_dist.report.svg import VARIABLES

STYLE = (
    VARIABLES
    + """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem; overflow-wrap: anywhere; }
h1 { line-height: 1.25; } h2 { margin-top: 2.5rem; } h3 { margin-top: 1.75rem; margin-bottom: .25rem; }
p, li { max-width: 46rem; }
p.lead { font-size: 1.2rem; line-height: 1.45; }
.note { border-left: 4px solid var(--orange); padding-left: .75rem; }
.small { font-size: .85rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 1rem 0; max-width: 40rem; }
figure svg { width: 100%; height: auto; display: block; overflow: visible; }
figcaption { font-size: .85rem; opacity: .85; padding: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #8886; white-space: nowrap; }
th { vertical-align: bottom; overflow-wrap: normal; }
td div + div { margin-top: .3rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; white-space: normal; min-width: 11rem; }
td small { opacity: .8; }
@media (max-width: 40rem) {
  th, td { padding: .25rem .35rem; }
  td:first-child { white-space: normal; min-width: 6.5rem; }
  td small { display: inline-block; white-space: normal; width: 4.7rem; line-height: 1.2; }
  td.text small { display: inline; width: auto; }
  td.text, th.text { min-width: 6.2rem; }
  th { white-space: normal; }
}
tr.front td, tr.strong td { font-weight: 600; }
tr.failed td { opacity: .6; }
pre { white-space: pre-wrap; font-size: .8rem; }
summary { cursor: pointer; font-weight: 600; margin: 1rem 0 .5rem; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""
)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Text(str):
    """A cell that is words, not a number: its column is set flush left and may wrap."""


class Markup(str):
    """A cell that is HTML already and is not escaped again: everything from the data in it has been."""


class MarkupText(Markup, Text):
    """Words as HTML."""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write it, all or nothing. `title` is text, `parts` are HTML."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )
    write_text(path, text)


def figure(svg: str, caption: str) -> str:
    """A drawing with its caption (text)."""
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], strong: Sequence[int] = ()) -> str:
    """Cells are escaped; a column is set as words where its cells are `Text`. `strong`: rows in bold, from 0."""
    rows = [list(row) for row in rows]
    words = [any(isinstance(row[i], Text) for row in rows) for i in range(len(head))]
    lines = [_row("th", "", words, head)]
    lines += [_row("td", "strong" if i in strong else "", words, row) for i, row in enumerate(rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _row(tag: str, kind: str, words: Sequence[bool], cells: Sequence[Any]) -> str:
    inner = "".join(
        f"<{tag}{' class=text' if word else ''}>{cell if isinstance(cell, Markup) else html.escape(str(cell))}</{tag}>"
        for word, cell in zip(words, cells, strict=True)
    )
    return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"


def with_ends(shown: str, ends: str) -> str:
    """A figure with its interval under it, where it has one."""
    return Markup(f"{html.escape(shown)}<br><small>{html.escape(ends)}</small>") if ends else shown


def value(given: Any) -> str:
    """Four digits of a number, a dash where it is none; anything else as it is."""
    if given is None or (isinstance(given, float) and not math.isfinite(given)):
        return "-"
    return f"{given:.4g}" if isinstance(given, float) else str(given)
