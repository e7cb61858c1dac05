"""The result in plain sentences, from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Interval = list[float] | None


def headline(run: dict[str, Any]) -> list[str]:
    """The sentences to read first, then those with their figures, about one run (an entry of report.json).

    First every clear loss, of any accuracy figure and any group table; then recall, the worst-served group (before)
    and inequality. A change is clear where its interval leaves out zero; otherwise the sentence says that it is not.
    """
    after, before, table = run["test"], (run["before"] or {}).get("test"), run["group"]
    metric = next(name for name in after if name.startswith("recall@"))
    groups = after["groups"].get(table, {"utility": {}, "cv": None})
    known = {g: v for g, v in groups["utility"].items() if v is not None}
    if before is None:
        inside = run["intervals"]["after"].get("groups", {}).get(table, {}).get("utility", {})
        return [_level(metric, after[metric], run["intervals"]["after"]) + _spread(table, known, inside)]
    changes = run["intervals"]["change"] or {}
    found = [
        (_upper(metric), _upper(metric), before[metric], after[metric], changes.get(metric), ("fell by", "rose by"))
    ]
    old, inside = before["groups"].get(table, {}), changes.get("groups", {}).get(table, {})
    there = {g: old["utility"][g] for g in known if old.get("utility", {}).get(g) is not None}
    if there:
        worst = min(there, key=lambda g: (there[g], g))
        ends = inside.get("utility", {}).get(worst)
        who = f"the worst-served {table} ({worst})"
        found.append((who, f"Utility of {worst}", there[worst], known[worst], ends, ("lost", "gained")))
    tables = run.get("tables") or [table]
    for name in tables:
        cvs = [figures["groups"].get(name, {}).get("cv") for figures in (before, after)]
        if None not in cvs:
            what, short = f"inequality among the groups of {name}", f"CV of {name} (lower is fairer)"
            ends = changes.get("groups", {}).get(name, {}).get("cv")
            found.append((what, short, *cvs, ends, ("fell by", "rose by")))
    losses = clear_losses(before, after, changes, tables)
    first = f"Clear losses: {'; '.join(losses)}. " if losses else ""
    said = [_upper(metric)] if _below(changes.get(metric)) else []
    said += [
        f"inequality among the groups of {name}"
        for name in tables
        if _above(changes.get("groups", {}).get(name, {}).get("cv"))
    ]
    phrases = [
        # The worst-served group is picked by its figure before: its gain carries its interval.
        f"{what} {_verb(b, a, ends, verbs)}{_interval(ends) if 'worst-served' in what else ''}"
        for what, _, b, a, ends, verbs in found
        if what not in said
    ]
    details = [f"{name}: {_detail(b, a, ends)}." for _, name, b, a, ends, _ in found]
    lead = f"{', '.join(phrases[:-1])}, and {phrases[-1]}" if len(phrases) > 2 else " and ".join(phrases)
    return [
        f"{first}{_capital(lead)}.".removesuffix(" ."),
        *details,
        *_sides(table, there, known, inside.get("utility", {})),
    ]


def clear_losses(
    before: dict[str, Any], after: dict[str, Any], changes: dict[str, Any], tables: Sequence[str]
) -> list[str]:
    """`NDCG@20 fell by 7.0 %` for each figure whose change's interval lies on the bad side of zero, `tables` first.

    Accuracy and every table's MIN should not fall, and no table's CV rise. Without lists of the state before there are
    no intervals, and nothing is clear.
    """
    lost = [
        f"{_upper(name)} {_fell(before[name], after[name])}"
        for name in after
        if "@" in name and _below(changes.get(name))
    ]
    for name in sorted(after["groups"], key=lambda other: other not in tables):
        then, now = before["groups"].get(name, {}), after["groups"][name]
        inside = changes.get("groups", {}).get(name, {})
        if _below(inside.get("min")):
            lost.append(f"MIN of {name} {_fell(then['min'], now['min'])}")
        if _above(inside.get("cv")):
            lost.append(f"CV of {name} rose by {_percent(now['cv'] / then['cv'] - 1).lstrip('+')}")
    return lost


def _below(interval: Interval) -> bool:
    return interval is not None and interval[1] < 0


def _above(interval: Interval) -> bool:
    return interval is not None and interval[0] > 0


def _fell(before: float, after: float) -> str:
    return f"fell by {_percent(1 - after / before).lstrip('+')}" if after else "fell to 0"


def _verb(before: float, after: float, interval: Interval, verbs: tuple[str, str]) -> str:
    if not before:
        return "began at nothing"
    share = after / before - 1
    if share == 0 or (interval is not None and interval[0] <= 0 <= interval[1]):
        return "did not clearly change"
    return f"{verbs[share > 0]} {_percent(abs(share)).lstrip('+')}"


def _detail(before: float, after: float, interval: Interval) -> str:
    text = f"from {before:.4f} to {after:.4f}"
    if before:
        text += f", {_percent(after / before - 1)}"
    return text + _interval(interval)


def _interval(interval: Interval) -> str:
    return "" if interval is None else f" (95 % interval {_percent(interval[0])} to {_percent(interval[1])})"


def _sides(
    table: str, before: Mapping[str, float], after: Mapping[str, float], changes: Mapping[str, Interval]
) -> list[str]:
    """How many groups clearly gained, and which lost: what the gain of the others cost."""
    if not changes:
        return []
    ends = {g: changes.get(g) for g in before if before[g]}
    won = sum(interval is not None and interval[0] > 0 for interval in ends.values())
    lost = sorted((after[g] / before[g] - 1, g) for g, i in ends.items() if i is not None and i[1] < 0)
    named = ", ".join(f"{g} ({_percent(share)})" for share, g in lost[:3]) + (", ..." if len(lost) > 3 else "")
    losers = f"{len(lost)} clearly lost: {named}" if lost else "none clearly lost"
    return [f"Of {len(before)} groups of {table}, {won} clearly gained, {losers}."]


def _level(metric: str, value: float, intervals: dict[str, Any]) -> str:
    ends = intervals.get(metric)
    return f"{_upper(metric)} is {value:.4f}" + (f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})." if ends else ".")


def _spread(table: str, known: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    """The groups served worst and best, which were picked by these figures and so carry their intervals."""
    if len(known) < 2:
        return ""
    low, high = min(known, key=lambda g: (known[g], g)), max(known, key=lambda g: (known[g], g))
    times = f", {known[high] / known[low]:.1f} times as much" if known[low] else ""
    shown = []
    for group in (low, high):
        ends = intervals.get(group)
        shown.append(f"{known[group]:.4f}" + (f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""))
    return f" The worst-served {table} ({low}) gets {shown[0]}, the best-served ({high}) {shown[1]}{times}."


def _upper(metric: str) -> str:
    return metric.replace("ndcg", "NDCG") if metric.startswith("ndcg") else _capital(metric)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %" if abs(share) < 0.1 else f"{100 * share:+.0f} %"
