"""The part of the page that sets runs side by side."""

from __future__ import annotations

import html
from typing import Any

from bifair_dist.report import plots
from bifair_dist.report.page import Text, figure, table, with_ends
from bifair_dist.runs.text import number


def comparison(content: dict[str, Any]) -> list[str]:
    """Headline, table and scatter of all runs; figures are test figures."""
    runs, metric = content["runs"], f"recall@{content['k']}"
    tables = [name for name in content["dataset"]["groups"] if any(r["test"]["groups"][name]["cv"] for r in runs)]
    balanced = [r["group"] for r in runs if r["rule"]]
    tables.sort(key=lambda name: name not in balanced)
    parts = [f"<h1>{len(runs)} runs compared</h1>"]
    if tables:
        parts.append(f'<p class="lead">{html.escape(_lead(runs, metric, tables[0]))}</p>')
    head = ["run", "method", metric, f"ndcg@{content['k']}"]
    head += [f"{name}: CV" for name in tables]
    rows = []
    for i, run in enumerate(runs, 1):
        test = run["test"]
        method = run["method"] + (f", {run['rule']} at {run['fairness_strength']:g}" if run["rule"] else "")
        row = [f"{i}. {run['name']}", Text(method), number(test[metric]), number(test[head[3]])]
        groups = [test["groups"][name] for name in tables]
        row += [with_ends(number(group["cv"]), f"MIN {number(group['min'])}") for group in groups]
        rows.append(row)
    parts.append(table(head, rows))
    drawings = [
        figure(
            plots.scatter_figure(f"all runs: {metric} against CV of {name}", _points(runs, metric, name), metric, name),
            "Below and to the right is better. Numbers are those of the table; lines are 95 % intervals over users; "
            "hollow rings are the states that fair phases began with.",
        )
        for name in tables
    ]
    return [*parts, f'<div class="figures">{"".join(drawings)}</div>']


def _lead(runs: list[dict[str, Any]], metric: str, table_: str) -> str:
    def cv(run: dict[str, Any]) -> float:
        value = run["test"]["groups"][table_]["cv"]
        return float("inf") if value is None else float(value)

    best, fairest = max(runs, key=lambda r: r["test"][metric] or 0.0), min(runs, key=cv)
    if best is fairest:
        return (
            f"{best['name']} has both the highest {metric} ({best['test'][metric]:.4f}) and the least inequality among "
            f"the groups of {table_} (CV {cv(best):.4f})."
        )
    return (
        f"{best['name']} has the highest {metric} ({best['test'][metric]:.4f}, CV of {table_} {cv(best):.4f}); "
        f"{fairest['name']} has the least inequality among the groups of {table_} (CV {cv(fairest):.4f}, {metric} "
        f"{fairest['test'][metric]:.4f})."
    )


def _points(runs: list[dict[str, Any]], metric: str, table_: str) -> list[dict[str, Any]]:
    points = []
    for i, run in enumerate(runs, 1):
        test, ends = run["test"], run["intervals"]["after"]
        before = (run["before"] or {}).get("test")
        if test["groups"][table_]["cv"] is None:
            continue
        start = None if before is None else (before[metric], before["groups"][table_]["cv"])
        points.append(
            {"number": i, "recall": test[metric], "cv": test["groups"][table_]["cv"], "recall_ends": ends[metric],
             "cv_ends": ends["groups"][table_]["cv"], "start": None if start is None or None in start else start}
        )  # fmt: skip
    return points
