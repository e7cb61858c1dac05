"""The part of the page that sets runs side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bifair_dist.report import plots
from bifair_dist.report.page import Part
from bifair_dist.runs.text import number


def comparison(content: dict[str, Any]) -> dict[str, Any]:
    """`lead`: the first sentences; `compared`: table and scatter of all runs. Figures are test figures."""
    runs, metric = content["runs"], f"recall@{content['k']}"
    tables = [name for name in content["dataset"]["groups"] if any(r["test"]["groups"][name]["cv"] for r in runs)]
    balanced = [r["group"] for r in runs if r["rule"]]
    tables.sort(key=lambda name: name not in balanced)
    ndcg = f"ndcg@{content['k']}"
    part = Part("", head=["run", "method", metric, ndcg, *(f"{name}: CV" for name in tables)], words=[1])
    for i, run in enumerate(runs, 1):
        test = run["test"]
        method = run["method"] + (f", {run['rule']} at {run['fairness_strength']:g}" if run["rule"] else "")
        groups = [test["groups"][name] for name in tables]
        figures = [(number(group["cv"]), f"MIN {number(group['min'])}") for group in groups]
        part.rows.append([f"{i}. {run['name']}", method, number(test[metric]), number(test[ndcg]), *figures])
    caption = (
        "Below and to the right is better. Numbers are those of the table; lines are 95 % intervals over users; "
        "hollow rings are the states that fair phases began with."
    )
    for name in tables:
        title = f"all runs: {metric} against CV of {name}"
        part.figures.append((plots.scatter_figure(title, _points(runs, metric, name), metric, name), caption))
    return {"lead": _lead(runs, metric, tables[0]) if tables else "", "compared": part}


def _lead(runs: list[dict[str, Any]], metric: str, table_: str) -> str:
    """Who has the highest accuracy and the least inequality, with intervals: they are named because they came first."""
    recall = [(run["name"], run["test"][metric], run["intervals"]["after"].get(metric)) for run in runs]
    ends = [run["intervals"]["after"]["groups"].get(table_, {}).get("cv") for run in runs]
    cv = [(run["name"], run["test"]["groups"][table_]["cv"], of) for run, of in zip(runs, ends, strict=True)]
    even = f"the least inequality among the groups of {table_}"
    return f"{_first(recall, f'the highest {metric}', max)} {_first(cv, even, min, 'CV ')}"


def _first(
    figures: list[tuple[str, float | None, list[float] | None]], what: str, best: Callable[..., float], unit: str = ""
) -> str:
    """A sentence on (run, figure, interval): equal ones to four digits have no winner."""
    known = [(name, round(value, 4), ends) for name, value, ends in figures if value is not None]
    if not known:
        return f"No run has {what}: it is not defined."
    top = best(value for _, value, _ in known)
    winners = [name for name, value, _ in known if value == top]
    if len(winners) == len(known):
        return f"No run has {what}: all have {unit}{top:.4f}." if len(known) > 1 else ""
    ends = next(ends for _, value, ends in known if value == top)
    shown = "" if ends is None else f", 95 % interval {ends[0]:.4f} to {ends[1]:.4f}"
    near = [] if ends is None else [n for n, v, _ in known if n not in winners and ends[0] <= v <= ends[1]]
    beside = f"; {', '.join(near)} {'lies' if len(near) == 1 else 'lie'} inside it" if near else ""
    return f"{' and '.join(winners)} {'has' if len(winners) == 1 else 'have'} {what} ({unit}{top:.4f}{shown}{beside})."


def _points(runs: list[dict[str, Any]], metric: str, table_: str) -> list[dict[str, Any]]:
    points = []
    for i, run in enumerate(runs, 1):
        test, ends = run["test"], run["intervals"]["after"]
        before = (run["before"] or {}).get("test")
        if test["groups"][table_]["cv"] is None:
            continue
        start = None if before is None else (before[metric], before["groups"][table_]["cv"])
        points.append(
            {
                "number": i,
                "recall": test[metric],
                "cv": test["groups"][table_]["cv"],
                "recall_ends": ends[metric],
                "cv_ends": ends["groups"][table_]["cv"],
                "start": None if start is None or None in start else start,
            }
        )
    return points
