"""The page from the content of report.json: the result in words first, then tables, then figures. No files are read."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bifair_dist.report import plots
from bifair_dist.report.compared import comparison
from bifair_dist.report.groups import ends, group_section, percents
from bifair_dist.report.page import MarkupText, Text, figure, table, value, with_ends
from bifair_dist.runs.text import change, number

ABOUT_FIGURES = (
    "Test pairs. Small: 95 % intervals, bootstrap over users; those of changes compare the same users before and "
    "after. CV: spread of the groups' utilities over their mean. MIN: mean of their lowest quarter. MMF: the least "
    "share of places in proportion to size."
)


def page_parts(content: dict[str, Any]) -> list[str]:
    """The body's parts, HTML."""
    runs, dataset = content["runs"], content["dataset"]
    if len(runs) == 1:
        return [f"<h1>Fairness report: {html.escape(runs[0]['name'])}</h1>", *_run(runs[0], dataset, runs[0]["name"])]
    parts = comparison(content)
    for i, run in enumerate(runs, 1):
        inner = "\n".join(_run(run, dataset, f"{i}. {run['name']}"))
        parts.append(f"<details><summary>{i}. {html.escape(run['name'])}: everything</summary>{inner}</details>")
    return parts


def _run(run: dict[str, Any], dataset: dict[str, Any], key: str) -> Iterator[str]:
    escape = html.escape
    first, *rest = (line.replace(" %", "\u00a0%") for line in run["headline"])
    yield f'<p class="lead"><strong>{escape(first)}</strong></p>'
    yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in rest)}</ul>"
    yield from (f'<p class="note">The trainer warned: {escape(line)}</p>' for line in run["warnings"])
    yield from (f'<p class="note">{escape(line)}</p>' for line in run["notes"])
    yield f"<p>{escape(_about(run, dataset))}</p>"
    yield "<h2>Accuracy and fairness</h2>"
    yield table(*_figures(run))
    yield f'<p class="small">{escape(ABOUT_FIGURES)}</p>'
    for name in _tables_first(run, run["test"]["groups"]):
        inner = "\n".join(group_section(run, dataset, name, key))
        balanced = name in run["tables"]
        title = f"By {escape(name)}" + (" (balanced in training)" if balanced and run["rule"] else "")
        if balanced:
            yield f"<h2>{title}</h2>{inner}"
        else:
            yield f"<details><summary>{title}</summary>{inner}</details>"
    yield from _front(run, key)
    yield from _training(run, key)
    yield from _moved(run, dataset, key)
    yield from _users(run)
    yield from _origin(run)


def _tables_first(run: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The balanced tables first, then the others."""
    return sorted(names, key=lambda name: name not in run["tables"])


def _about(run: dict[str, Any], dataset: dict[str, Any]) -> str:
    rule = (
        f", rule {run['rule']} over {run['config']['balance.group']} at strength {run['fairness_strength']:g}"
        if run["rule"]
        else ""
    )
    start = Path(run["config"]["training.warm_start"]).name
    state = f"that of the run {start}" if start else "AlphaRec's, which the base phase trained"
    before = f" Before: the state that the fair phases began with, {state}." if run["before"] else ""
    return (
        f"Method {run['method']}{rule}. {dataset['users']:,} users, {dataset['items']:,} items, "
        f"{dataset['pairs']['train']:,} training and {dataset['pairs']['test']:,} test pairs.{before}"
    )


def _figures(run: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the first table."""
    after, before = run["test"], (run["before"] or {}).get("test")
    rows: list[list[Any]] = []

    def add(name: str, *keys: str) -> None:
        new, old = _at(after, keys), _at(before, keys)
        tree = run["intervals"]
        row: list[Any] = [name]
        row += [with_ends(number(old), ends(_at(tree["before"], keys)))] if before else []
        row += [with_ends(number(new), ends(_at(tree["after"], keys)))]
        row += [with_ends(change(new, old), percents(_at(tree["change"], keys)))] if before else []
        rows.append(row)

    for name in after:
        if "@" in name:
            add(name, name)
    for table_ in _tables_first(run, after["groups"]):
        add(f"{table_}: CV (lower is fairer)", "groups", table_, "cv")
        add(f"{table_}: MIN (higher is fairer)", "groups", table_, "min")
        if "mmf" in after["groups"][table_]:
            add(f"{table_}: MMF of exposure (1 is even)", "groups", table_, "mmf")
    add("Gini of items' exposure (0 is even)", "gini")
    add("share of items shown at all", "coverage")
    add("share of the long tail shown at all", "tail_coverage")
    add("training pairs of an item shown, mean over places", "average_popularity")
    return ["", "before", "after", "change"] if before else ["", "value"], rows


def _at(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = None if tree is None else tree.get(key)
    return tree


def _front(run: dict[str, Any], key: str) -> Iterator[str]:
    """Every state between AlphaRec's and the fair end: what a larger or smaller budget would have kept."""
    front = run.get("front")
    if not front:
        return
    metric = next(name for name in run["valid"] if name.startswith("recall@"))
    drawings = []
    for name in front["tables"]:
        points = [_state(point, front["kept"], metric, name) for point in front["points"]]
        if all(p["cv"] is not None and p["recall"] is not None for p in points):
            caption = (
                f"States from AlphaRec's (0) to the fair end (1), by {name}. Full: within the budget; ringed: kept."
            )
            drawings.append(figure(plots.front_figure(f"{key}: states by {name}", points, metric, name), caption))
    yield "<h2>Other trade-offs of this run</h2>"
    yield (
        f"<p>On validation pairs. Kept: {front['kept']:g}, with a budget of {100 * front['accuracy_budget']:g} % of "
        "AlphaRec's accuracy. jobs/export.py writes any other state as a run, without training.</p>"
    )
    yield f'<div class="figures">{"".join(drawings)}</div>'


def _state(point: dict[str, Any], kept: float, metric: str, table_: str) -> dict[str, Any]:
    valid, a = point["valid"], point["interpolation"]
    cv = valid["groups"][table_]["cv"]
    return {"interpolation": a, "recall": valid[metric], "cv": cv, "within": point["within_budget"], "kept": a == kept}


def _training(run: dict[str, Any], key: str) -> Iterator[str]:
    history = run["history"]
    if not history:
        return
    metric = next(name for name in history[0]["valid"] if "@" in name)
    drawings = [
        figure(
            plots.validation_figure(f"{key}: validation", history, metric, run["group"]),
            "Validation figures; full marks are the best of their phase so far.",
        )
    ]
    fair = [r for r in history if r["weights"] is not None]
    if fair:
        labels = run["balanced_groups"]
        x = plots.epochs_of(fair)
        for name, ylabel, even in (("weights", "weight of a group", 1 / len(labels)), ("group_losses", "loss", None)):
            lines = _lines(fair, name, labels)
            if lines:
                what = {
                    "weights": "The weights that the rule gave the groups.",
                    "group_losses": "Training loss by group: a mean of the latest batches.",
                }[name]
                less = f" The {len(lines)} of {len(labels)} that changed most." if len(lines) < len(labels) else ""
                svg = plots.lines_figure(f"{key}: {name}", ylabel, x, lines, even)
                drawings.append(figure(svg, what + less))
    yield "<h2>How training went</h2>"
    yield f'<div class="figures">{"".join(drawings)}</div>'


def _lines(fair: list[dict[str, Any]], name: str, labels: list[str]) -> dict[str, list[float | None]]:
    """Values by group; where there are more groups than marks, those whose values changed most."""
    lines = {label: [(r[name] or [None] * len(labels))[g] for r in fair] for g, label in enumerate(labels)}
    lines = {label: values for label, values in lines.items() if any(v is not None for v in values)}

    def spread(label: str) -> float:
        known = [v for v in lines[label] if v is not None]
        return min(known) - max(known)

    kept = set(sorted(lines, key=spread)[: len(plots.LINES)])
    return {label: values for label, values in lines.items() if label in kept}


def _moved(run: dict[str, Any], dataset: dict[str, Any], key: str) -> Iterator[str]:
    drift = run["drift"]
    if drift is None:
        return
    yield "<h2>How far items moved</h2>"
    if drift["all"]["p90"] == 0:
        yield "<p>The item vectors are those that the run began with: its phases move the projector alone.</p>"
        return
    sample = drift["looked_at"] < dataset["items"]
    looked = f"{drift['looked_at']:,} of {dataset['items']:,} items were looked at. " if sample else ""
    yield (
        f"<p>{looked}Drift is 1 minus the cosine of an item's vector to the one it began with. Half of the items "
        f"drifted by more than {value(drift['all']['median'])}, a tenth by more than {value(drift['all']['p90'])}.</p>"
    )
    drawings = [
        figure(
            plots.drift_figure(f"{key}: drift by {name}", drift["groups"][name]),
            f"{name}: median and the middle eight tenths.",
        )
        for name in _tables_first(run, drift["groups"])[:2]
        if any(q["median"] is not None for q in drift["groups"][name].values())
    ]
    yield f'<div class="figures">{"".join(drawings)}</div>'
    yield "<h3>Items that moved most</h3>"
    yield table(
        ["item", "group", "training pairs", "drift"],
        [[Text(m["title"]), Text(", ".join(m["groups"])), m["train_pairs"], value(m["drift"])] for m in drift["moved"]],
    )
    yield "<h3>Nearest neighbours before and after</h3>"
    yield table(
        ["item", "nearest before", "nearest after"],
        [
            [_item(n), _ordered(n["before"]), _ordered(n["after"], {b["title"] for b in n["before"]})]
            for n in drift["neighbours"]
        ],
    )
    yield (
        '<p class="small">The item that moved most, one of the middle, and the most popular one of the worst-served '
        "group, of the best-served group and of all. Numbers are cosines; new neighbours are in bold.</p>"
    )


def _item(entry: dict[str, Any]) -> MarkupText:
    groups = html.escape(", ".join(entry["groups"]))
    return MarkupText(f"{_title(entry)}<br><small>{groups}; drift {value(entry['drift'])}</small>")


def _title(entry: dict[str, Any]) -> str:
    """HTML. Titles in scripts that run from right to left must not turn round what stands beside them."""
    return f"<bdi>{html.escape(entry['title'])}</bdi>"


def _ordered(near: list[dict[str, Any]], known: set[str] | None = None) -> MarkupText:
    lines = []
    for entry in near:
        title = _title(entry)
        fresh = known is not None and entry["title"] not in known
        shown = f"<strong>{title}</strong>" if fresh else title
        lines.append(f"<div>{shown} <small>{entry['cosine']:.2f}</small></div>")
    return MarkupText("".join(lines))


def _users(run: dict[str, Any]) -> Iterator[str]:
    yield "<h2>What a few users are shown</h2>"
    yield (
        '<p class="small">Users evenly spaced among all, not chosen for effect. ✓: among the items that the user was '
        "to be shown (test pairs). Bold: not in the list before.</p>"
    )
    for user in run["users"]:
        more = user["train_pairs"] - len(user["has"])
        has = "; ".join(user["has"]) + (f"; and {more} more" if more else "")
        yield f"<h3>User {html.escape(user['user_id'])}</h3>"
        has = html.escape(f"Has {user['train_pairs']} items: {has}. To find: {user['test_pairs']}.")
        yield f'<p class="small">{has}</p>'
        before, after = user.get("before"), user["after"]
        if before is None:
            yield table(["", "shown"], [[i + 1, _shown(after, i, None)] for i in range(len(after))])
            continue
        known = {entry["title"] for entry in before}
        places = range(max(len(after), len(before)))
        rows = [[i + 1, _shown(before, i, None), _shown(after, i, known)] for i in places]
        yield table(["", "before", "after"], rows)


def _shown(entries: list[dict[str, Any]], place: int, old: set[str] | None) -> MarkupText:
    if place >= len(entries):
        return MarkupText("")
    entry = entries[place]
    title, groups = _title(entry), html.escape(", ".join(entry["groups"]))
    text = f"<strong>{title}</strong>" if old is not None and entry["title"] not in old else title
    return MarkupText(f"{'✓ ' if entry['wanted'] else ''}{text}" + (f" <small>{groups}</small>" if groups else ""))


def _origin(run: dict[str, Any]) -> Iterator[str]:
    origin = run["provenance"]
    commits = ", ".join(origin.get("commits", [])) or "not known"
    rows = [["program", Text(f"version {origin.get('version', 'not known')}, commit {commits}")]]
    sums = {name: checksum or "gone" for name, checksum in origin.get("data", {}).items()}
    rows += [[f"SHA-256, manifest of {name}", Text(checksum)] for name, checksum in sums.items()]
    made = origin["dataset_manifest"]
    rows += [[f"SHA-256, {name}", Text(checksum)] for name, checksum in (made["checksums"] or {}).items()]
    rows += [[f"dataset: {name}", Text(json.dumps(made[name], ensure_ascii=False))] for name in ("source", "options")]
    yield "<h2>Where it comes from</h2>"
    yield "<h3>Settings other than the defaults</h3>"
    changed = [[name, Text(value(v))] for name, v in run["changed_settings"].items()]
    yield table(["setting", "value"], changed) if changed else "<p>None.</p>"
    lines = "\n".join(f"{name}: {v}" for name, v in run["config"].items())
    yield f"<details><summary>All settings</summary><pre>{html.escape(lines)}</pre></details>"
    yield f"<details><summary>Program and data</summary>{table(['', ''], rows)}</details>"
