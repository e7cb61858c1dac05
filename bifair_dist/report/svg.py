"""Figures as SVG inside a page: matplotlib draws them, base.html.jinja colours them, light and dark.

Each colour of the palette becomes a CSS variable with this colour to fall back on, so that one drawing serves both
modes. Okabe-Ito colours, with marks and dashes beside them: readable in grey and by colour-blind people.
"""

from __future__ import annotations

import functools
import html
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

P = ParamSpec("P")

INK, GREY = "#1a1a1a", "#777777"
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"

LINES = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    (PINK, "D", ":"),
    (INK, "v", "-"),
    (SKY, "P", "--"),
    (YELLOW, "X", "-."),
    (GREY, "d", ":"),
    (BLUE, "<", "--"),
    (ORANGE, ">", "-"),
    (GREEN, "p", ":"),
    (PINK, "h", "-"),
)
"""(colour, mark, dashes) of lines in one plot: no two share their mark; the star is left to a study's reference."""

_NAMES = {GREY: "grey", BLUE: "blue", ORANGE: "orange", GREEN: "green", PINK: "pink", SKY: "sky", YELLOW: "yellow"}

_STYLE = {
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}


def drawn(draw: Callable[P, str]) -> Callable[P, str]:
    """A function that draws, under the page's style."""

    @functools.wraps(draw)
    def styled(*args: P.args, **named: P.kwargs) -> str:
        import matplotlib

        with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
            return draw(*args, **named)

    return styled


def figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    """(figure, its axes), `width` by `height` inches."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows)


def svg(made: Any, title: str) -> str:
    """The figure as an `<svg>` element; no two figures of a page may share their `title`."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser's fonts draw the text, not matplotlib's
        made.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z0-9.]+_[0-9_]+"', "", text)  # figure_1, text_2: once in every figure, and never used
    text = text.replace(INK, "currentColor")
    for colour, name in _NAMES.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def write_svg(path: Path, picture: str) -> None:
    """The figure as a file of its own, on white: black and the palette's colours stand in for the page's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture.replace("<svg ", '<svg style="background:#fff;color:#1a1a1a" ', 1), encoding="utf-8")


def label(text: str, longest: int = 28) -> str:
    """A text of the data for a plot: no mathematics between its dollars, no line breaks, not too long."""
    text = " ".join(text.split())
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")
