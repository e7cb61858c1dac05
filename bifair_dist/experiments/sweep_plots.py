"""The report's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bifair_dist.experiments.objective import Baseline
from bifair_dist.experiments.space import Choice, Range, Space
from bifair_dist.experiments.sweep_results import Trial
from bifair_dist.report.svg import BLUE, GREEN, GREY, ORANGE, drawn, figure, svg


@drawn
def front_figure(trials: Sequence[Trial], baseline: Baseline, best: Trial | None, share: float) -> str:
    """Recall against CV, and against MIN: dominated points, each plane's front, baseline, the least recall allowed."""
    made, both = figure(6.4, 8.0, rows=2)
    there = [t for t in trials if t.status != "failed" and math.isfinite(t.cv)]
    for axes, name, on in ((both[0], "cv", "front"), (both[1], "minimum", "front_min")):
        front = sorted((t.recall, getattr(t, name)) for t in there if getattr(t, on))
        rest = [(t.recall, getattr(t, name)) for t in there if not getattr(t, on)]
        axes.scatter([r for r, _ in rest], [v for _, v in rest], marker="o", c=GREY, s=36, label="dominated")
        axes.plot([r for r, _ in front], [v for _, v in front], "D-", color=BLUE, linewidth=1, label="Pareto front")
        at = (baseline.recall, getattr(baseline, name))
        axes.scatter(*at, marker="*", c=ORANGE, s=160, label="AlphaRec baseline", zorder=3)
        if best is not None:
            axes.scatter(
                [best.recall],
                [getattr(best, name)],
                marker="o",
                s=170,
                facecolors="none",
                edgecolors=GREEN,
                linewidths=2,
                label="chosen",
            )
        axes.axvline(share * baseline.recall, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(
            f"{share:.0%} of the baseline's recall",
            (share * baseline.recall, axes.get_ylim()[0]),
            rotation=90,
            fontsize=8,
            color=GREY,
            ha="right",
            va="bottom",
        )
    both[0].set_ylabel("CV of group utilities (lower is fairer)")
    both[1].set_ylabel("utility of the worst-served group, MIN (higher is better)")
    both[1].set_xlabel("Recall (higher is better)")
    both[0].legend(fontsize=8, markerscale=0.6)
    return svg(made, "Recall against CV and MIN of every trial")


@drawn
def parallel_figure(trials: Sequence[Trial], space: Space) -> str:
    """One line a trial through its settings and its J; the better, the darker."""
    done = sorted((t for t in trials if math.isfinite(t.objective)), key=lambda t: -t.objective)
    keys = list(space.domains)
    made, axes = figure(1.9 * (len(keys) + 1), 4.0)
    for rank, trial in enumerate(done):
        values = [_place(space.domains[key], trial.config[key]) for key in keys]
        values.append(1 - rank / max(1, len(done) - 1))
        shade = 0.15 + 0.85 * rank / max(1, len(done) - 1)
        axes.plot(range(len(values)), values, color=BLUE, alpha=shade, linewidth=1.4)
    axes.set_xticks(
        range(len(keys) + 1), [*(k.rpartition(".")[2] for k in keys), "rank by J\n(bottom: best)"], fontsize=8
    )
    axes.set_yticks([])
    for i, key in enumerate(keys):
        for name, at in _ends(space.domains[key]):
            axes.annotate(name, (i, at), fontsize=7, color=GREY, xytext=(3, 0), textcoords="offset points")
        axes.axvline(i, color=GREY, linewidth=0.6)
    return svg(made, "Settings of every trial")


@drawn
def curve_figure(trials: Sequence[Trial], space: Space, baseline: Baseline) -> str:
    """Of a space with one setting: recall and CV, mean and standard deviation over seeds."""
    ((key, domain),) = space.domains.items()
    trials = [t for t in trials if key in t.config]
    points = sorted({t.config[key] for t in trials})
    made, both = figure(6.4, 5.2, rows=2)
    for axes, name, base in ((both[0], "recall", baseline.recall), (both[1], "cv", baseline.cv)):
        values = [[getattr(t, name) for t in trials if t.config[key] == p and t.status != "failed"] for p in points]
        means = [float(np.mean(v)) if v else math.nan for v in values]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values]
        axes.errorbar(points, means, yerr=spread, fmt="o-", color=BLUE, capsize=4, label="mean and s.d. over seeds")
        axes.axhline(base, color=ORANGE, linestyle="--", linewidth=1, label="AlphaRec baseline")
        axes.set_ylabel("Recall" if name == "recall" else "CV")
        if (isinstance(domain, Range) and domain.log) or (
            isinstance(domain, Choice) and max(points) >= 20 * min(points)
        ):
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
        at = np.arange(len(keys)) + (i - 0.5) * 0.36
        axes.barh(at, [shares[k] for k in keys], height=0.34, color=(BLUE, ORANGE)[i], label=name, hatch=("", "//")[i])
    axes.set_yticks(range(len(keys)), keys, fontsize=8)
    axes.set_xlabel("share of the variance among trials (fANOVA)")
    axes.legend(fontsize=8)
    return svg(made, "Importance of each setting")


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
