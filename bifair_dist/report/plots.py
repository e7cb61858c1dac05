"""The figures of a report, from the content of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bifair_dist.report.svg import BLUE, GREEN, GREY, INK, LINES, ORANGE, drawn, figure, label, svg

MOST = 24
"""Groups in a figure; the page says so where there are more."""

_WIDTH = 4.4


@drawn
def utility_figure(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Utility by group: hollow before, full after with its interval. `rows` as in `groups.rows_of`."""
    made, axes = figure(_WIDTH, 0.9 + 0.26 * len(rows))
    for y, row in enumerate(rows):
        old, new, ends = row["before"], row["after"], row["interval"]
        if ends is not None:
            axes.plot(ends, [y, y], color=BLUE, linewidth=1.6, solid_capstyle="butt", alpha=0.6)
        if old is not None and new is not None:
            axes.annotate("", (new, y), (old, y), arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.9})
        if old is not None:
            _ring(axes, old, y, y == _first(rows, "before"))
        if new is not None:
            name = "after, 95 % interval" if y == _first(rows, "after") else None
            axes.plot(new, y, "o", markersize=6, color=BLUE, label=name)
    _groups(axes, rows)
    axes.set_xlabel("utility: share of wanted items found")
    axes.set_xlim(left=0)
    _legend(axes, made)
    return svg(made, title)


@drawn
def exposure_figure(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Share of places in the lists by group, before and after, against the group's share of training pairs."""
    made, axes = figure(_WIDTH, 0.9 + 0.26 * len(rows))
    for y, row in enumerate(rows):
        axes.barh(y, 100 * row["exposure"], height=0.5, color=BLUE, alpha=0.75, label="after" if y == 0 else None)
        if row["exposure_before"] is not None:
            _ring(axes, 100 * row["exposure_before"], y, y == 0)
        name = "share of training pairs" if y == 0 else None
        axes.plot(100 * row["pair_share"], y, "|", color=INK, markersize=13, markeredgewidth=1.8, label=name)
    _groups(axes, rows)
    axes.set_xlabel("share of places in the lists, %")
    _legend(axes, made)
    return svg(made, title)


@drawn
def lines_figure(
    title: str, ylabel: str, x: Sequence[float], lines: Mapping[str, Sequence[float | None]], even: float | None = None
) -> str:
    """One line a group over the epochs of the fair phases; the most even weight as a dotted line."""
    made, axes = figure(_WIDTH, 3.2 + 0.16 * (len(lines) // 2))
    for (name, values), (colour, mark, dashes) in zip(lines.items(), LINES, strict=False):
        points = [(at, v) for at, v in zip(x, values, strict=True) if v is not None]
        axes.plot(
            *zip(*points, strict=True),
            linestyle=dashes,
            marker=mark,
            color=colour,
            markersize=4.5,
            linewidth=1.3,
            label=label(name),
        )
    if even is not None:
        axes.axhline(even, color=GREY, linestyle=":", linewidth=1)
        axes.annotate("even", (x[0], even), fontsize=8, color=GREY, xytext=(0, 2), textcoords="offset points")
    axes.set_xlabel("epoch of the fair phases")
    axes.set_ylabel(ylabel)
    _legend(axes, made, columns=2)
    return svg(made, title)


@drawn
def validation_figure(title: str, history: Sequence[dict[str, Any]], metric: str, table: str) -> str:
    """Accuracy and CV at every validation, phase after phase; the states that were kept are full marks."""
    made, both = figure(_WIDTH, 4.4, rows=2)
    x = epochs_of(history)
    for axes, key, colour, name in ((both[0], metric, BLUE, metric), (both[1], "cv", ORANGE, f"CV of {label(table)}")):
        values = [r["valid"][key] for r in history]
        axes.plot(x, [float("nan") if v is None else v for v in values], color=colour, linewidth=1.2)
        for at, value, record in zip(x, values, history, strict=True):
            if value is not None:
                inside = colour if record["best"] else "none"
                axes.plot(at, value, "o", markersize=4.5, markeredgecolor=colour, markerfacecolor=inside, color=colour)
        for i in range(1, len(history)):
            if history[i]["phase"] != history[i - 1]["phase"]:
                axes.axvline(x[i - 1], color=GREY, linestyle="--", linewidth=1)
                axes.annotate(
                    history[i]["phase"],
                    (x[i - 1], axes.get_ylim()[1]),
                    fontsize=8,
                    color=GREY,
                    va="top",
                    xytext=(4, 0),
                    textcoords="offset points",
                )
        axes.set_ylabel(name)
    both[1].set_xlabel("epoch")
    return svg(made, title)


@drawn
def drift_figure(title: str, groups: dict[str, dict[str, Any]]) -> str:
    """Drift by group: the median, and where the middle eight tenths of its items lie."""
    shown = [(name, q) for name, q in groups.items() if q["median"] is not None]
    shown.sort(key=lambda pair: pair[1]["median"])
    shown = shown[-MOST:]
    made, axes = figure(_WIDTH, 0.8 + 0.26 * len(shown))
    for y, (_, q) in enumerate(shown):
        axes.plot([q["p10"], q["p90"]], [y, y], color=GREEN, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(q["median"], y, "D", color=GREEN, markersize=5)
    axes.set_yticks(range(len(shown)), [label(name) for name, _ in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("drift: 1 - cosine to the vector it began with")
    return svg(made, title)


@drawn
def scatter_figure(title: str, points: Sequence[dict[str, Any]], metric: str, table: str) -> str:
    """Accuracy against CV: a numbered point a run with its intervals, a hollow one where it began.

    `points`: `number`, `recall`, `cv`, their intervals `recall_ends` and `cv_ends` (or None), `start` (recall, CV).
    """
    made, axes = figure(_WIDTH, 4.2)
    for start in sorted({p["start"] for p in points if p["start"] is not None}):
        axes.plot(*start, "o", markersize=8, markerfacecolor="none", markeredgecolor=GREY, markeredgewidth=1.5)
    for p in points:
        if p["start"] is not None:
            axes.plot([p["start"][0], p["recall"]], [p["start"][1], p["cv"]], color=GREY, linewidth=0.8, linestyle=":")
        if p["recall_ends"] and p["cv_ends"]:
            axes.plot(p["recall_ends"], [p["cv"]] * 2, color=BLUE, linewidth=1, alpha=0.5)
            axes.plot([p["recall"]] * 2, p["cv_ends"], color=BLUE, linewidth=1, alpha=0.5)
        axes.plot(p["recall"], p["cv"], "o", markersize=7, color=BLUE)
        axes.annotate(
            str(p["number"]), (p["recall"], p["cv"]), xytext=(6, 5), textcoords="offset points", fontweight="bold"
        )
    axes.set_xlabel(f"{metric} (more is better)")
    axes.set_ylabel(f"CV of {label(table)} (lower is fairer)")
    return svg(made, title)


@drawn
def front_figure(title: str, points: Sequence[dict[str, Any]], metric: str, table: str) -> str:
    """Validation accuracy against CV of every state between two ends, in order; the kept one ringed.

    `points`: `interpolation`, `recall`, `cv`, whether `within` the budget, and whether it was `kept`.
    """
    made, axes = figure(_WIDTH, 4.2)
    axes.plot([p["recall"] for p in points], [p["cv"] for p in points], color=GREY, linewidth=0.8)
    for p in points:
        at = (p["recall"], p["cv"])
        axes.plot(*at, "o", markersize=6, color=BLUE, markerfacecolor=BLUE if p["within"] else "none")
        if p["kept"]:
            axes.plot(*at, "o", markersize=12, markerfacecolor="none", markeredgecolor=ORANGE, markeredgewidth=1.8)
        axes.annotate(f"{p['interpolation']:g}", at, xytext=(7, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel(f"{metric} on validation (more is better)")
    axes.set_ylabel(f"CV of {label(table)} (lower is fairer)")
    return svg(made, title)


def epochs_of(history: Sequence[dict[str, Any]]) -> list[float]:
    """Epochs since the start of the run, over all phases, at each validation."""
    out, passed, last = [], 0, 0
    for i, record in enumerate(history):
        if i and record["phase"] != history[i - 1]["phase"]:
            passed += last
        last = record["epoch"]
        out.append(float(passed + last))
    return out


def _first(rows: Sequence[dict[str, Any]], key: str) -> int:
    return next(i for i, row in enumerate(rows) if row[key] is not None)


def _ring(axes: Any, x: float, y: float, named: bool) -> None:
    """A figure before; one of a drawing is named in its legend."""
    name = "before" if named else None
    axes.plot(x, y, "o", markersize=6, markerfacecolor="none", markeredgecolor=ORANGE, markeredgewidth=1.5, label=name)


def _groups(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    axes.set_yticks(range(len(rows)), [label(row["label"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _legend(axes: Any, made: Any, columns: int = 3) -> None:
    """Above the axes, where it hides no point."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        made.legend(handles, names, loc="outside upper left", ncols=columns)
