"""What report.html.jinja shows, from the content of report.json: tables and drawings. No files are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bifair_dist.report import plots
from bifair_dist.report.compared import comparison
from bifair_dist.report.groups import ends, group_part, percents
from bifair_dist.report.page import Part
from bifair_dist.runs.text import change, number

ABOUT_FIGURES = (
    "Test pairs. Small: 95 % intervals, bootstrap over users; those of changes compare the same users before and "
    "after. CV: spread of the groups' utilities over their mean. MIN: mean of their lowest quarter. MMF: the least "
    "share of places in proportion to size."
)

OF_TABLES = {"cv": "CV (lower is fairer)", "min": "MIN (higher is fairer)", "mmf": "MMF of exposure (1 is even)"}
OF_ALL = {
    "gini": "Gini of items' exposure (0 is even)",
    "coverage": "share of items shown at all",
    "tail_coverage": "share of the long tail shown at all",
    "average_popularity": "training pairs of an item shown, mean over places",
}


def shown(content: dict[str, Any]) -> dict[str, Any]:
    """The variables of the template."""
    runs, dataset = content["runs"], content["dataset"]
    keys = [f"{i}. {run['name']}" for i, run in enumerate(runs, 1)] if len(runs) > 1 else [runs[0]["name"]]
    return {
        "title": f"Fairness report: {', '.join(run['name'] for run in runs)}",
        "dataset": dataset,
        "runs": [run | _added(run, dataset, key) for run, key in zip(runs, keys, strict=True)],
        **(comparison(content) if len(runs) > 1 else {"compared": None}),
    }


def _added(run: dict[str, Any], dataset: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands beside a run's entry in report.json; `key` tells runs of a page apart."""
    groups = [group_part(run, dataset, name, key) for name in _tables_first(run, run["test"]["groups"])]
    return {
        "key": key,
        "start": Path(run["config"]["training.warm_start"]).name,
        "parts": [_accuracy(run), *groups, *_front(run, key), *_training(run, key)],
        "drift_figures": _drifts(run, key),
        "origin": _origin(run["provenance"]),
    }


def _tables_first(run: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The balanced tables first, then the others."""
    return sorted(names, key=lambda name: name not in run["tables"])


def _accuracy(run: dict[str, Any]) -> Part:
    after, before, tree = run["test"], (run["before"] or {}).get("test"), run["intervals"]
    part = Part("Accuracy and fairness", small=[ABOUT_FIGURES])
    part.head = ["", "before", "after", "change"] if before else ["", "value"]
    figures: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in after if "@" in name]
    for table in _tables_first(run, after["groups"]):
        known = [key for key in OF_TABLES if key in after["groups"][table]]
        figures += [(f"{table}: {OF_TABLES[key]}", ("groups", table, key)) for key in known]
    for name, keys in [*figures, *((name, (key,)) for key, name in OF_ALL.items())]:
        new, old = _at(after, keys), _at(before, keys)
        row: list[object] = [name, (number(new), ends(_at(tree["after"], keys)))]
        if before:
            row.insert(1, (number(old), ends(_at(tree["before"], keys))))
            row.append((change(new, old), percents(_at(tree["change"], keys))))
        part.rows.append(row)
    return part


def _at(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = None if tree is None else tree.get(key)
    return tree


def _front(run: dict[str, Any], key: str) -> Iterator[Part]:
    """Every state between AlphaRec's and the fair end: what a larger or smaller budget would have kept."""
    front = run.get("front")
    if not front:
        return
    metric = next(name for name in run["valid"] if name.startswith("recall@"))
    text = (
        f"On validation pairs. Kept: {front['kept']:g}, with a budget of {100 * front['accuracy_budget']:g} % of "
        "AlphaRec's accuracy. jobs/export.py writes any other state as a run, without training."
    )
    part = Part("Other trade-offs of this run", text=[text])
    for name in front["tables"]:
        points = [_state(point, front["kept"], metric, name) for point in front["points"]]
        if all(p["cv"] is not None and p["recall"] is not None for p in points):
            drawing = plots.front_figure(f"{key}: states by {name}", points, metric, name)
            states = f"States from AlphaRec's (0) to the fair end (1), by {name}"
            full = "Full: recall and NDCG within the budget, each less one standard error"
            part.figures.append((drawing, f"{states}. {full}; ringed: kept."))
    yield part


def _state(point: dict[str, Any], kept: float, metric: str, table_: str) -> dict[str, Any]:
    valid, a = point["valid"], point["interpolation"]
    cv = valid["groups"][table_]["cv"]
    return {"interpolation": a, "recall": valid[metric], "cv": cv, "within": point["within_budget"], "kept": a == kept}


def _training(run: dict[str, Any], key: str) -> Iterator[Part]:
    history = run["history"]
    if not history:
        return
    metric = next(name for name in history[0]["valid"] if "@" in name)
    drawing = plots.validation_figure(f"{key}: validation", history, metric, run["group"])
    caption = "Validation figures; full marks are the best of their phase so far."
    part = Part("How training went", figures=[(drawing, caption)])
    fair, labels = [r for r in history if r["weights"] is not None], run["balanced_groups"]
    for name, ylabel, caption in (
        ("weights", "weight of a group", "The weights that the rule gave the groups."),
        ("group_losses", "loss", "Training loss by group: a mean of the latest batches."),
    ):
        if lines := _lines(fair, name, labels):
            if len(lines) < len(labels):
                caption += f" The {len(lines)} of {len(labels)} that changed most."
            even = 1 / len(labels) if name == "weights" else None
            drawing = plots.lines_figure(f"{key}: {name}", ylabel, plots.epochs_of(fair), lines, even)
            part.figures.append((drawing, caption))
    yield part


def _lines(fair: list[dict[str, Any]], name: str, labels: list[str]) -> dict[str, list[float | None]]:
    """Values by group; where there are more groups than marks, those whose values changed most."""
    lines = {label: [(r[name] or [None] * len(labels))[g] for r in fair] for g, label in enumerate(labels)}
    lines = {label: values for label, values in lines.items() if any(v is not None for v in values)}

    def spread(label: str) -> float:
        known = [v for v in lines[label] if v is not None]
        return min(known) - max(known)

    kept = set(sorted(lines, key=spread)[: len(plots.LINES)])
    return {label: values for label, values in lines.items() if label in kept}


def _drifts(run: dict[str, Any], key: str) -> list[tuple[str, str]]:
    drift = run["drift"]
    if drift is None or drift["all"]["p90"] == 0:
        return []
    groups = {name: drift["groups"][name] for name in _tables_first(run, drift["groups"])[:2]}
    return [
        (plots.drift_figure(f"{key}: drift by {name}", by), f"{name}: median and the middle eight tenths.")
        for name, by in groups.items()
        if any(q["median"] is not None for q in by.values())
    ]


def _origin(origin: dict[str, Any]) -> list[tuple[str, str]]:
    """What it was made with and of."""
    commits = ", ".join(origin.get("commits", [])) or "not known"
    made = origin["dataset_manifest"]
    return [
        ("program", f"version {origin.get('version', 'not known')}, commit {commits}"),
        *((f"SHA-256, manifest of {name}", checksum or "gone") for name, checksum in origin.get("data", {}).items()),
        *((f"SHA-256, {name}", checksum) for name, checksum in (made["checksums"] or {}).items()),
        *((f"dataset: {name}", json.dumps(made[name], ensure_ascii=False)) for name in ("source", "options")),
    ]
