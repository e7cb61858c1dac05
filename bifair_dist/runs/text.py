"""The figures of a run as lines of text: one for each validation, and the table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from bifair_dist.runs.summary import Figure, GroupFigures, Metrics, Summary


def number(value: Figure) -> str:
    """Four digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def change(value: Figure, base: Figure) -> str:
    """From `base` to `value` in per cent; a dash where that says nothing."""
    return "-" if not base or value is None else f"{100 * (value / base - 1):+.1f} %"


def evaluation_line(summary: Summary, tables: Sequence[str]) -> str:
    """One line: accuracy, then CV and MIN of the balanced group tables (or of the first one)."""
    parts = [f"{name} {number(value)}" for name, value in summary.accuracy.items() if "hit" not in name]
    for name in [name for name in tables if name in summary.groups] or list(summary.groups)[:1]:
        figures = summary.groups[name]
        parts.append(f"{name} CV {number(figures.cv)} MIN {number(figures.minimum)}")
    return "  ".join(parts)


def before_after(metrics: Metrics, tables: Sequence[str]) -> str:
    """Test figures: accuracy, and fairness and utility by group of every group table, balanced `tables` first.

    Of a run that is not tested, validation figures.
    """
    after, split = (metrics.valid, "validation") if metrics.tested is None else (metrics.tested, "test")
    before = Summary({})
    if metrics.before is not None:
        before = metrics.before.valid if metrics.tested is None else metrics.before.tested or before
    blocks = [[(name, before.accuracy.get(name), value) for name, value in after.accuracy.items()]]
    for table in sorted(after.groups, key=lambda name: name not in tables):
        now, then = after.groups[table], before.groups.get(table, GroupFigures())
        rows = [
            (f"{table}: CV (lower is fairer)", then.cv, now.cv),
            (f"{table}: MIN (higher is fairer)", then.minimum, now.minimum),
        ]
        blocks.append([*rows, *((f"  {label}", then.utility.get(label), v) for label, v in now.utility.items())])
    width = max(len(name) for block in blocks for name, *_ in block)
    compared = metrics.before is not None
    head = f"{split:<{width}}" + (f"  {'before':>8}  {'after':>8}  {'change':>8}" if compared else "")
    return head + "\n" + "\n\n".join(_lines(block, width, compared) for block in blocks)


def _lines(rows: list[tuple[str, Figure, Figure]], width: int, compared: bool) -> str:
    if not compared:
        return "\n".join(f"{name:<{width}}  {number(after):>8}" for name, _, after in rows)
    return "\n".join(
        f"{name:<{width}}  {number(before):>8}  {number(after):>8}  {_moved(after, before):>8}"
        for name, before, after in rows
    )


def _moved(after: Figure, before: Figure) -> str:
    return "" if not before or after is None else change(after, before)
