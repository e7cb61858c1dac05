"""`report.html` of a sweep: data, groups and rule, the chosen point, drawings, and a line for each trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bifair_dist.experiments import plots
from bifair_dist.experiments.epochs import epochs_used, epochs_warning
from bifair_dist.experiments.importance import importance
from bifair_dist.experiments.page import tested
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.selection import Result
from bifair_dist.experiments.space import Space
from bifair_dist.experiments.table import Entry, point_text
from bifair_dist.experiments.trial import Figures, Trial
from bifair_dist.report.page import Part, value, write_page
from bifair_dist.runs.text import change


def write_sweep_page(
    path: Path,
    space: Space,
    search: Search,
    results: Sequence[Result],
    reference: Trial,
    best: Result | None,
    entries: Sequence[Entry],
) -> None:
    """Write it; `entries`: the lines of the confirmation on test, none without one."""
    group, rule = search.group, search.rule
    known = Figures.of(reference.run.metrics.valid, group)
    lead = [
        f"{space.about}. Dataset: {search.dataset}. Group table: {group}.",
        f"{len(results)} trials: {_counts(results)} ('stopped': ended early by the scheduler). AlphaRec baseline on "
        f"validation: recall {known.recall:.4f}, CV {known.cv:.4f}, MIN {known.minimum:.4f}; {_used([reference])}.",
        rule.explained("the baseline"),
        *_chosen(space, search, results, known, best),
    ]
    kept = [trial for trial in search.tried if best and trial.finished and trial.point == best.point]
    warned = [("AlphaRec baseline", [reference]), ("chosen", kept)]
    warnings = [epochs_warning(name, [trial.run for trial in trials]) for name, trials in warned if trials]
    parts = [Part("", warnings=[line for line in warnings if line])]
    if entries:
        seeds = f"Test, once for each of {len(entries[0].trials)} seeds"
        parts.append(tested(seeds, entries, "AlphaRec", path.parent))
    parts += [Part("Validation", figures=_figures(space, search, results, known, best)), _trials(space, results)]
    if failed := [f"{r.name}: {r.reason}" for r in results if r.status == "failed"]:
        parts.append(Part("Failed", small=failed))
    write_page(path, "parts.html.jinja", title=f"{space.name}: sweep", lead=lead, parts=parts)


def _counts(results: Sequence[Result]) -> str:
    return ", ".join(f"{sum(r.status == s for r in results)} {s}" for s in ("finished", "stopped", "failed"))


def _used(trials: Sequence[Trial]) -> str:
    return f"epochs used: {epochs_used([trial.run for trial in trials])}"


def _chosen(space: Space, search: Search, results: Sequence[Result], known: Figures, best: Result | None) -> list[str]:
    if best is None:
        return ["No trial finished."]
    seeds, f = len(space.seeds), best.figures
    of = "" if seeds == 1 else f", means of {seeds} seeds"
    lines = [
        f"Chosen, least J: {point_text(best.point)}: recall {f.recall:.4f} ({change(f.recall, known.recall)}), CV "
        f"{f.cv:.4f} ({change(f.cv, known.cv)}), MIN {f.minimum:.4f} ({change(f.minimum, known.minimum)}){of}."
    ]
    if search.rule.base is not None and best.objective >= 1:
        what = "finished trial" if seeds == 1 else "mean over the seeds"
        lines.append(f"No {what} is fairer than the baseline and keeps that much accuracy; this one comes nearest.")
    return lines


def _figures(
    space: Space, search: Search, results: Sequence[Result], known: Figures, best: Result | None
) -> list[tuple[str, str]]:
    rule = search.rule
    keep = None if rule.base is None else 1 - rule.settings.balance.accuracy_budget
    caption = "Validation figures of the state that each trial kept. Only the table of seeds has seen test data."
    found = [(plots.front_figure(results, known, best, keep), caption)]
    if len(space.domains) == 1:
        found.append((plots.curve_figure(results, space, known), "Bars: one standard deviation over seeds."))
    else:
        found.append((plots.parallel_figure(results, space), "One line a trial; the darker, the better its J."))
    if shares := importance(results, space):
        found.append((plots.importance_figure(shares), "Over the whole range searched, interactions left out."))
    return found


def _trials(space: Space, results: Sequence[Result]) -> Part:
    keys = list(space.domains)
    ranked = sorted(results, key=lambda r: r.objective)
    part = Part("All trials", kinds=["failed" if r.status == "failed" else "front" if r.front else "" for r in ranked])
    part.head = ["trial", "status", "validations", "recall", "NDCG", "CV", "MIN", "J", *keys, "seed"]
    for r in ranked:
        name, status = {r.name: f"trials/{r.name}/"}, r.status + (", front" if r.front else "")
        f, settings = r.figures, [value(r.point.get(key)) for key in keys]
        figures = (f.recall, f.ndcg, f.cv, f.minimum, r.objective)
        part.rows.append([name, status, r.validations, *figures, *settings, r.seed])
    return part
