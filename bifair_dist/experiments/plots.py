"""The drawings of sweeps and studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.selection import Result
from bifair_dist.experiments.space import Choice, Range, Space
from bifair_dist.experiments.table import Entry
from bifair_dist.experiments.trial import Figures
from bifair_dist.report.svg import BLUE, GREEN, GREY, INK, LINES, ORANGE, drawn, figure, svg


@drawn
def front_figure(trials: Sequence[Result], baseline: Figures, best: Result | None, keep: float | None) -> str:
    """Recall against CV, and against MIN: dominated points, each plane's front, baseline, the least recall allowed.

    `keep`: the share of the baseline's recall; None where nothing is bounded.
    """
    made, both = figure(6.4, 8.0, rows=2)
    there = [t for t in trials if t.status != "failed" and math.isfinite(t.figures.cv)]
    for axes, name, on in ((both[0], "cv", "front"), (both[1], "minimum", "front_min")):
        front = sorted((t.figures.recall, getattr(t.figures, name)) for t in there if getattr(t, on))
        rest = [(t.figures.recall, getattr(t.figures, name)) for t in there if not getattr(t, on)]
        axes.scatter([r for r, _ in rest], [v for _, v in rest], marker="o", c=GREY, s=36, label="dominated")
        axes.plot([r for r, _ in front], [v for _, v in front], "D-", color=BLUE, linewidth=1, label="Pareto front")
        at = (baseline.recall, getattr(baseline, name))
        axes.scatter(*at, marker="*", c=ORANGE, s=160, label="AlphaRec baseline", zorder=3)
        if best is not None:
            ring: dict[str, Any] = {"s": 170, "facecolors": "none", "edgecolors": GREEN, "linewidths": 2}
            axes.scatter([best.figures.recall], [getattr(best.figures, name)], marker="o", label="chosen", **ring)
        if keep is not None:
            least, words = keep * baseline.recall, f"{keep:.0%} of the baseline's recall"
            axes.axvline(least, color=GREY, linestyle=":", linewidth=1)
            look: dict[str, Any] = {"rotation": 90, "fontsize": 8, "color": GREY, "ha": "right", "va": "bottom"}
            axes.annotate(words, (least, axes.get_ylim()[0]), **look)
    both[0].set_ylabel("CV of group utilities (lower is fairer)")
    both[1].set_ylabel("utility of the worst-served group, MIN (higher is better)")
    both[1].set_xlabel("Recall (higher is better)")
    both[0].legend(fontsize=8, markerscale=0.6)
    return svg(made, "Recall against CV and MIN of every trial")


@drawn
def parallel_figure(trials: Sequence[Result], space: Space) -> str:
    """One line a trial through its settings and its J; the better, the darker."""
    done = sorted((t for t in trials if math.isfinite(t.objective)), key=lambda t: -t.objective)
    keys = list(space.domains)
    made, axes = figure(1.9 * (len(keys) + 1), 4.0)
    for rank, trial in enumerate(done):
        share = rank / max(1, len(done) - 1)
        values = [*(_place(space.domains[key], trial.point[key]) for key in keys), 1 - share]
        axes.plot(range(len(values)), values, color=BLUE, alpha=0.15 + 0.85 * share, linewidth=1.4)
    names = [*(k.rpartition(".")[2] for k in keys), "rank by J\n(bottom: best)"]
    axes.set_xticks(range(len(keys) + 1), names, fontsize=8)
    axes.set_yticks([])
    for i, key in enumerate(keys):
        for name, at in _ends(space.domains[key]):
            axes.annotate(name, (i, at), fontsize=7, color=GREY, xytext=(3, 0), textcoords="offset points")
        axes.axvline(i, color=GREY, linewidth=0.6)
    return svg(made, "Settings of every trial")


@drawn
def curve_figure(trials: Sequence[Result], space: Space, baseline: Figures) -> str:
    """Of a space with one setting: recall and CV, mean and standard deviation over seeds."""
    ((key, domain),) = space.domains.items()
    points = sorted({t.point[key] for t in trials})
    made, both = figure(6.4, 5.2, rows=2)
    for axes, name, base in ((both[0], "recall", baseline.recall), (both[1], "cv", baseline.cv)):
        there = [t for t in trials if t.status != "failed"]
        values = [[getattr(t.figures, name) for t in there if t.point[key] == p] for p in points]
        means = [float(np.mean(v)) if v else math.nan for v in values]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values]
        axes.errorbar(points, means, yerr=spread, fmt="o-", color=BLUE, capsize=4, label="mean and s.d. over seeds")
        axes.axhline(base, color=ORANGE, linestyle="--", linewidth=1, label="AlphaRec baseline")
        axes.set_ylabel("Recall" if name == "recall" else "CV")
        wide = isinstance(domain, Choice) and max(points) >= 20 * min(points)
        if wide or (isinstance(domain, Range) and domain.log):
            axes.set_xscale("log")
    both[0].legend(fontsize=8)
    both[1].set_xlabel(key)
    return svg(made, f"Sensitivity to {key}")


@drawn
def importance_figure(importance: dict[str, dict[str, float]]) -> str:
    """Share of the variance that each setting explains, for recall and CV."""
    keys = list(next(iter(importance.values())))
    made, axes = figure(6.4, 0.6 * len(keys) + 1.2)
    for i, (name, shares) in enumerate(importance.items()):
        look: dict[str, Any] = {"color": (BLUE, ORANGE)[i], "hatch": ("", "//")[i], "label": name}
        axes.barh(np.arange(len(keys)) + (i - 0.5) * 0.36, [shares[k] for k in keys], height=0.34, **look)
    axes.set_yticks(range(len(keys)), keys, fontsize=8)
    axes.set_xlabel("share of the variance among trials (fANOVA)")
    axes.legend(fontsize=8)
    return svg(made, "Importance of each setting")


@drawn
def points_figure(title: str, entries: Sequence[Entry], reference: str, group: str) -> str:
    """A study's points on validation; lines join each method's own front."""
    made, axes = figure(4.4, 4.8)
    for e, (colour, mark, dashes) in zip(entries, marks(entries, reference), strict=False):
        there = [(r.figures.recall, r.figures.cv) for r in e.tried if math.isfinite(r.figures.cv)]
        on = pareto_front([(-r, cv) for r, cv in there])
        front = sorted(point for point, best in zip(there, on, strict=True) if best)
        look: dict[str, Any] = {"color": colour, "markersize": 5}
        axes.plot([r for r, _ in there], [cv for _, cv in there], mark, alpha=0.7, **look)
        line = {**look, "linestyle": dashes, "linewidth": 1.1, "label": e.method}
        axes.plot([r for r, _ in front], [cv for _, cv in front], mark, **line)
    return _plane(made, axes, title, group, "validation recall")


@drawn
def chosen_figure(title: str, entries: Sequence[Entry], reference: str, group: str) -> str:
    """Test figures at the chosen points, mean and standard deviation over seeds."""
    made, axes = figure(4.4, 4.8)
    for e, (colour, mark, _) in zip(entries, marks(entries, reference), strict=False):
        recall, cv = e.values["recall"], e.values["cv"]
        spread = [0.0 if math.isnan(v.spread) else v.spread for v in (recall, cv)]
        axes.plot(recall.mean, cv.mean, mark, color=colour, markersize=6, label=e.method)
        axes.errorbar(recall.mean, cv.mean, xerr=spread[0], yerr=spread[1], color=colour, linewidth=1, capsize=2)
    return _plane(made, axes, title, group, "test recall")


def marks(entries: Sequence[Entry], reference: str) -> list[tuple[str, str, str]]:
    """Colour, mark and dashes: a star for the reference, which stands first; past twelve, marks in other colours."""
    first = [(INK, "*", "-")] if entries and entries[0].method == reference else []
    turned = [(LINES[i - 5][0], mark, dashes) for i, (_, mark, dashes) in enumerate(LINES)]
    return [*first, *LINES, *turned]


def _plane(made: Any, axes: Any, title: str, group: str, xlabel: str) -> str:
    axes.locator_params(axis="x", nbins=5)  # four digits each: more would touch
    axes.set_xlabel(f"{xlabel} (more is better)")
    axes.set_ylabel(f"CV of {group} (lower is fairer)")
    made.legend(loc="outside upper left", ncols=2)
    return svg(made, title)


def _place(domain: Range | Choice, value: Any) -> float:
    """A value between 0 and 1 on its axis."""
    if isinstance(domain, Choice):
        return domain.values.index(value) / max(1, len(domain.values) - 1)
    low, high, x = (math.log(v) if domain.log else float(v) for v in (domain.low, domain.high, value))
    return (x - low) / (high - low)


def _ends(domain: Range | Choice) -> list[tuple[str, float]]:
    if isinstance(domain, Choice):
        return [(str(v), _place(domain, v)) for v in domain.values]
    return [(f"{domain.low:g}", 0.0), (f"{domain.high:g}", 1.0)]
