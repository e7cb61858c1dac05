"""The part of the page about a group table: who is served how well, shown how often, before and after."""

from __future__ import annotations

from typing import Any

from bifair_dist.report import plots
from bifair_dist.report.page import Part
from bifair_dist.runs.text import change, number


def rows_of(run: dict[str, Any], dataset: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """One row a group, the worst served (before, else after) first, groups without a utility last.

    Keys: `label`, `size`, `users` (who count there), `before`, `after`, `interval` (of after), `change_interval`; of
    item groups also `exposure`, `exposure_before`, `item_share`, `pair_share`, `exposure_ratio`.
    """
    about, after = dataset["groups"][name], run["test"]["groups"][name]
    old = (run["before"] or {}).get("test", {}).get("groups", {}).get(name, {})
    ends, moved = (
        ((run["intervals"][which] or {}).get("groups", {}).get(name, {})).get("utility", {})
        for which in ("after", "change")
    )
    rows = []
    for label, size in about["sizes"].items():
        row = {
            "label": label,
            "size": size,
            "users": run["counted_users"][name][label],
            "before": old.get("utility", {}).get(label),
            "after": after["utility"][label],
            "interval": ends.get(label),
            "change_interval": moved.get(label),
        }
        if "exposure" in after:
            row |= {
                "exposure": after["exposure"][label],
                "exposure_before": old.get("exposure", {}).get(label),
                "item_share": about["item_share"][label],
                "pair_share": about["pair_share"][label],
                "exposure_ratio": after.get("exposure_ratio", {}).get(label),
            }
        rows.append(row)

    def worst_first(row: dict[str, Any]) -> tuple[bool, float]:
        value = row["after"] if row["before"] is None else row["before"]
        return value is None, value or 0.0

    return sorted(rows, key=worst_first)


def group_part(run: dict[str, Any], dataset: dict[str, Any], name: str, key: str) -> Part:
    """Table and figures of one group table, folded where training did not balance it."""
    rows = rows_of(run, dataset, name)
    shown, balanced = rows[: plots.MOST], name in run["tables"]
    entity = "items" if dataset["groups"][name]["entity"] == "item" else "users"
    with_before, items = run["before"] is not None, "exposure" in rows[0] if rows else False
    part = Part(f"By {name}" + (" (balanced in training)" if balanced and run["rule"] else ""), folded=not balanced)
    head = ["group", *(["before", "after", "change"] if with_before else ["utility"]), entity, "users counted"]
    if items:
        head += ["% of items", "% of pairs", *(["% shown before"] if with_before else []), "% shown", "shown / taken"]
    part.head, part.rows = head, [_cells(row, with_before, items) for row in shown]
    if len(rows) > len(shown):
        part.small = [f"The {len(shown)} worst-served of {len(rows)} groups; report.json has all."]
    caption = "A group's utility: the share of its wanted items that its users find in their lists, mean over users."
    part.figures.append((plots.utility_figure(f"{key}: utility by {name}", shown), caption))
    if items and rows[0]["exposure"] is not None:
        caption = "Places in all lists that go to the group's items. To compare with: how often they were taken."
        part.figures.append((plots.exposure_figure(f"{key}: exposure by {name}", shown), caption))
    return part


def _cells(row: dict[str, Any], with_before: bool, items: bool) -> list[object]:
    cells: list[object] = [row["label"]]
    cells += [number(row["before"])] if with_before else []
    cells += [(number(row["after"]), ends(row["interval"]))]
    if with_before:
        cells += [(change(row["after"], row["before"]), percents(row["change_interval"]))]
    cells += [f"{row['size']:,}", f"{row['users']:,}"]
    if items:
        shares = ["item_share", "pair_share", *(["exposure_before"] if with_before else []), "exposure"]
        cells += ["-" if row[name] is None else f"{100 * row[name]:.1f}" for name in shares]
        cells += ["-" if row["exposure_ratio"] is None else f"{row['exposure_ratio']:.2f}"]
    return cells


def ends(interval: list[float] | None) -> str:
    """An interval of figures, empty for none."""
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def percents(interval: list[float] | None) -> str:
    """An interval of relative changes, empty for none."""
    return "" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} %"
