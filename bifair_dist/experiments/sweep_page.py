"""`report.html`: the sweep on one self-contained page, for a person. No script, nothing from the network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bifair_dist.experiments import sweep_plots as plots
from bifair_dist.experiments.importance import importance
from bifair_dist.experiments.objective import Baseline
from bifair_dist.experiments.space import Space
from bifair_dist.experiments.sweep_results import Trial
from bifair_dist.report.page import figure, value, write_page
from bifair_dist.runs.text import change


def write_report(
    path: Path,
    space: Space,
    trials: Sequence[Trial],
    baseline: Baseline,
    best: Trial | None,
    share: float,
    confirmed: Sequence[dict[str, Any]] = (),
) -> None:
    """Write it; `confirmed` has, by seed, (recall, CV, MIN) on test of the baseline and of the best setting."""
    parts = [_summary(space, trials, baseline, best, share), _confirmed(confirmed)]
    caption = "Validation figures of each trial's best state. Only the table of seeds has seen test data."
    parts.append(figure(plots.front_figure(trials, baseline, best, share), caption))
    if len(space.domains) == 1:
        parts.append(figure(plots.curve_figure(trials, space, baseline), "Bars: one standard deviation over seeds."))
    else:
        parts.append(figure(plots.parallel_figure(trials, space), "One line a trial; the darker, the better its J."))
    shares = importance(trials, space)
    if shares:
        parts.append(figure(plots.importance_figure(shares), "Over the whole range searched, interactions left out."))
    parts.append(_table(space, trials))
    write_page(path, f"{space.name}: sweep", parts)


def _summary(space: Space, trials: Sequence[Trial], baseline: Baseline, best: Trial | None, share: float) -> str:
    counts = ", ".join(f"{sum(t.status == s for t in trials)} {s}" for s in ("finished", "stopped", "failed"))
    lines = [
        f"<h1>{html.escape(space.about)}</h1>",
        f"<p>{len(trials)} trials: {counts} ('stopped': ended early by the scheduler). AlphaRec baseline on "
        f"validation: recall {baseline.recall:.4f}, CV {baseline.cv:.4f}, MIN {baseline.minimum:.4f}.</p>",
    ]
    if best is None:
        lines.append("<p><strong>No trial finished.</strong></p>")
    else:
        picked = ", ".join(f"{k} = {value(v)}" for k, v in best.config.items() if k != "seed")
        seeds = len(space.seeds)
        of, what = ("", "finished trial") if seeds == 1 else (f", means of {seeds} seeds", "mean over the seeds")
        lines.append(
            f"<p>Chosen (least CV with at least {share:.0%} of the baseline's recall): <strong>{html.escape(picked)}"
            f"</strong>: recall {best.recall:.4f} ({change(best.recall, baseline.recall)}), CV {best.cv:.4f} "
            f"({change(best.cv, baseline.cv)}), MIN {best.minimum:.4f} "
            f"({change(best.minimum, baseline.minimum)}){of}.</p>"
        )
        if best.recall < share * baseline.recall:
            lines.append(f"<p><strong>No {what} keeps that much recall; this one comes nearest.</strong></p>")
    return "\n".join(lines)


def _confirmed(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    out = ["<h2>Test, once for each seed</h2><div class=scroll><table><tr><th></th><th>AlphaRec</th><th>chosen</th>"]
    out.append("<th>change</th></tr>")
    for i, name in enumerate(("Recall", "CV", "MIN")):
        before, after = (np.array([row[which][i] for row in rows]) for which in ("alpharec", "best"))
        cells = [f"{v.mean():.4f} ± {v.std(ddof=1) if len(v) > 1 else 0:.4f}" for v in (before, after)]
        out.append(
            f"<tr><td>{name}</td><td>{cells[0]}</td><td>{cells[1]}</td><td>"
            f"{change(float(after.mean()), float(before.mean()))}</td></tr>"
        )
    return "".join(out) + f"</table></div><p>Mean and standard deviation over {len(rows)} seeds.</p>"


def _table(space: Space, trials: Sequence[Trial]) -> str:
    keys = list(space.domains) + (["seed"] if len(space.seeds) > 1 else [])
    head = ["trial", "status", "validations", "recall", "CV", "MIN", *keys]
    rows = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>"]
    for t in sorted(trials, key=lambda t: t.objective):
        cells = [
            t.trial,
            t.status + (", front" if t.front else ""),
            t.validations,
            *map(value, (t.recall, t.cv, t.minimum)),
        ]
        cells += [value(t.config.get(k)) for k in keys]
        kind = "failed" if t.status == "failed" else "front" if t.front else ""
        rows.append(f'<tr class="{kind}">' + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>")
    failed = "".join(
        f"<li>{html.escape(t.trial)}: {html.escape(t.reason)}</li>" for t in trials if t.status == "failed"
    )
    return f"<h2>All trials</h2><div class=scroll><table>{''.join(rows)}</table></div>" + (
        f"<h2>Failed</h2><ul>{failed}</ul>" if failed else ""
    )
