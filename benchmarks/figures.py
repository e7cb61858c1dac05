"""The figures of the benchmark's page: every measurement beside its bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bifair_dist.report.svg import BLUE, GREY, INK, ORANGE, drawn, figure, svg

_WIDTH = 4.4


@drawn
def growth_figure(
    title: str,
    xlabel: str,
    ylabel: str,
    x: Sequence[float],
    measured: Sequence[float],
    bound: Sequence[float | None],
    what: str = "bound",
    name: str = "measured",
) -> str:
    """Measured (full marks) and bound (dashes) over a size, both axes logarithmic; `what`, `name`: their labels."""
    made, axes = figure(_WIDTH, 3.4)
    points = [(a, b) for a, b in zip(x, bound, strict=True) if b is not None]
    axes.plot(x, measured, "o-", color=BLUE, markersize=5, linewidth=1.4, label=name)
    if points:
        axes.plot(
            *zip(*points, strict=True),
            "s--",
            color=ORANGE,
            markersize=5,
            linewidth=1.2,
            markerfacecolor="none",
            label=what,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(dict.fromkeys(x)), [_short(v) for v in dict.fromkeys(x)])
    axes.minorticks_off()
    low, high = _ends([*measured, *(b for _, b in points)])
    axes.set_ylim(low / 1.4, high * 1.4)
    ticks = _ticks(low / 1.4, high * 1.4)
    axes.set_yticks(ticks, [_short(v) for v in ticks])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return svg(made, title)


@drawn
def bars_figure(title: str, xlabel: str, rows: Sequence[tuple[str, float, float | None]], what: str = "bound") -> str:
    """A bar for each (name, measured, bound), the bound as a mark across it; without one, none."""
    made, axes = figure(_WIDTH, 1.1 + 0.32 * len(rows))
    for y, (_, measured, bound) in enumerate(rows):
        axes.barh(y, measured, height=0.55, color=BLUE, alpha=0.75, label="measured" if y == 0 else None)
        if bound is not None:
            first = y == next(i for i, row in enumerate(rows) if row[2] is not None)
            axes.plot(bound, y, "|", color=INK, markersize=15, markeredgewidth=2, label=what if first else None)
        share = f"{measured / bound:.1f} x" if bound else ""
        axes.annotate(
            share,
            (max(measured, bound or 0.0), y),
            xytext=(7, 0),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
            va="center",
        )
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(max(measured, bound or 0.0) for _, measured, bound in rows))
    axes.set_xlabel(xlabel)
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return svg(made, title)


def _ends(values: Sequence[Any]) -> tuple[float, float]:
    return min(values), max(values)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the ends, as coarse as leaves at least three of them, and at most seven."""
    found: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(n / 10 for n in range(10, 100))):
        found = [m * 10.0**e for e in range(-9, 15) for m in steps if low <= m * 10.0**e <= high]
        if len(found) >= 3:
            break
    return found[:: max(1, -(-len(found) // 7))]


def _short(number: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.4g}{name}"
    return f"{number:.4g}"
