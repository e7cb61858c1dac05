"""The test figures of a run, before and after: those that a person looks at first, and those of each group."""

from __future__ import annotations

from bifair_dist.runs.summary import Figure, GroupFigures, Metrics, Summary

Pair = tuple[Figure, Figure]
"""Before (None without a fair phase) and after."""


def headline_figures(metrics: Metrics) -> dict[str, Pair]:
    """Accuracy, then CV, MIN and max-min fairness of exposure of every group table, then Gini and coverage.

    Names are `accuracy/<metric>`, `fairness/<table> <figure>` and `exposure/<figure>`.
    """
    before, after = _both(metrics)
    found: dict[str, Pair] = {
        f"accuracy/{name}": (before.accuracy.get(name), value) for name, value in after.accuracy.items()
    }
    for table, now in after.groups.items():
        then = before.groups.get(table, GroupFigures())
        found[f"fairness/{table} CV"] = then.cv, now.cv
        found[f"fairness/{table} MIN"] = then.minimum, now.minimum
    for name in ("gini", "coverage"):
        found[f"exposure/{name}"] = getattr(before, name), getattr(after, name)
    return found


def by_group(metrics: Metrics) -> dict[tuple[str, str], Pair]:
    """Recall of each group by (table, label)."""
    before, after = _both(metrics)
    return {
        (table, label): (before.groups.get(table, GroupFigures()).utility.get(label), value)
        for table, now in after.groups.items()
        for label, value in now.utility.items()
    }


def _both(metrics: Metrics) -> tuple[Summary, Summary]:
    return Summary({}) if metrics.before is None else metrics.before.test, metrics.test
