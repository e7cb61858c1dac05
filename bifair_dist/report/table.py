"""Tables for a person, from the dictionaries that go into metrics.json."""

from __future__ import annotations

from typing import Any


def number(value: float | None) -> str:
    """Four digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def change(value: float | None, base: float | None) -> str:
    """From `base` to `value` in per cent; a dash where that says nothing."""
    return "-" if not base or value is None else f"{100 * (value / base - 1):+.1f} %"


def evaluation_line(summary: dict[str, Any], group: str) -> str:
    """One line: accuracy, then CV and MIN of the balanced group table (or of the first one)."""
    accuracy = [f"{name} {number(value)}" for name, value in summary.items() if "@" in name and "hit" not in name]
    groups = summary["groups"]
    name = group if group in groups else next(iter(groups), None)
    fairness = [] if name is None else [f"{name} CV {number(groups[name]['cv'])} MIN {number(groups[name]['min'])}"]
    return "  ".join(accuracy + fairness)


def before_after(before: dict[str, Any] | None, after: dict[str, Any], group: str) -> str:
    """Accuracy, and fairness and utility by group of every group table; the balanced table first."""
    rows: list[tuple[str, float | None, float | None]] = []

    def add(name: str, *keys: str) -> None:
        values = []
        for summary in (before, after):
            value: Any = summary
            for key in keys:
                value = None if value is None else value.get(key)
            values.append(value)
        rows.append((name, values[0], values[1]))

    for name in after:
        if "@" in name:
            add(name, name)
    for table in sorted(after["groups"], key=lambda name: name != group):
        rows.append(("", None, None))
        add(f"{table}: CV (lower is fairer)", "groups", table, "cv")
        add(f"{table}: MIN (higher is fairer)", "groups", table, "min")
        for label in after["groups"][table]["utility"]:
            add(f"  {label}", "groups", table, "utility", label)
    width = max(len(r[0]) for r in rows)
    lines = [f"{'test':<{width}}  {'before':>8}  {'after':>8}  {'change':>8}" if before else f"{'test':<{width}}"]
    for name, b, a in rows:
        if not name:
            lines.append("")
        elif before is None:
            lines.append(f"{name:<{width}}  {number(a):>8}")
        else:
            moved = "" if not b or a is None else change(a, b)
            lines.append(f"{name:<{width}}  {number(b):>8}  {number(a):>8}  {moved:>8}")
    return "\n".join(lines)
