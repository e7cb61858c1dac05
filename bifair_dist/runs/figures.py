"""The figures of a run as a person looks at them: a few for MLflow's run page, the rest as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bifair_dist.runs.summary import Figure, GroupFigures, Metrics, Summary
from bifair_dist.runs.validation import Validation

Pair = tuple[Figure, Figure]
"""Before (None without a fair phase) and after."""
GROUPS = 10
"""Groups up to which a run page has a series for each one's weight and loss; of more, `history.jsonl` has them."""


def headline_figures(metrics: Metrics) -> dict[str, Pair]:
    """Accuracy, then CV and MIN of every group table, then what is shown of the catalogue.

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
    for name in ("gini", "coverage", "average_popularity", "tail_coverage"):
        found[f"exposure/{name.replace('_', ' ')}"] = getattr(before, name), getattr(after, name)
    return found


def by_group(metrics: Metrics) -> dict[tuple[str, str], Pair]:
    """Recall of each group by (table, label)."""
    before, after = _both(metrics)
    return {
        (table, label): (before.groups.get(table, GroupFigures()).utility.get(label), value)
        for table, now in after.groups.items()
        for label, value in now.utility.items()
    }


def final_figures(metrics: Metrics, tables: Sequence[str]) -> dict[str, float]:
    """Accuracy, and CV and MIN of the balanced `tables`: each before, after and change (a share)."""
    shown = {f"fairness/{table} {figure}" for table in tables for figure in ("CV", "MIN")}
    found: dict[str, Figure] = {}
    for name, (before, after) in headline_figures(metrics).items():
        if name.startswith("accuracy/") or name in shown:
            moved = None if not before or after is None else after / before - 1
            found |= {f"{name} before": before, f"{name} after": after, f"{name} change": moved}
    return _numbers(found)


def live_figures(validation: Validation, labels: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """What a watcher follows: accuracy, CV and MIN of every table, the loss, and each group's weight and loss.

    `labels`: of the balanced groups, by the text that names their tables, in the order of the groups.
    """
    found: dict[str, Figure] = {f"validation/{name}": value for name, value in validation.valid.accuracy.items()}
    for table, figures in validation.valid.groups.items():
        found |= {f"validation/{table} CV": figures.cv, f"validation/{table} MIN": figures.minimum}
    found |= {
        "training/loss": validation.loss,
        "training/seconds per epoch": validation.seconds_per_epoch,
        "training/v norm": validation.v_norm,
        "training/Z drift": validation.z_drift,
        "training/fit": validation.fit,
    }
    named = labels.get(validation.group, ())
    if len(named) <= GROUPS:
        for what, values in (("weights", validation.weights), ("losses", validation.group_losses)):
            found |= {f"{what}/{label}": value for label, value in zip(named, values or (), strict=False)}
    return _numbers(found)


def _numbers(figures: Mapping[str, Figure]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if value is not None}


def _both(metrics: Metrics) -> tuple[Summary, Summary]:
    return (metrics.before and metrics.before.tested) or Summary({}), metrics.test
