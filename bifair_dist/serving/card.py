"""The model card of a run: what it is for, its fairness table, groups, data and limits, all from the run's files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bifair_dist.data.dataset import read_manifest as read_dataset_manifest
from bifair_dist.data.representations import read_manifest
from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.runs.figures import Pair, by_group, headline_figures
from bifair_dist.runs.text import change, number

LIMITS = (
    "Figures are of held-out interactions that were recorded; they say how well those were found.",
    "Groups are as the data label them; whoever is in none of the tables below was not measured.",
    "Fairer to one group table is not fairer to another; each table below shows what changed in it.",
    "Users and items that training did not see are approximated (docs/python.md).",
    "The folder holds user ids and what each user has (`users.parquet`, `pairs.parquet`): treat it as personal data.",
)


def card_of(run: Run) -> str:
    """Markdown with the front matter that model hubs read."""
    config, metrics = run.config, run.metrics
    training, balance = config["training"], config.get("balance", {})
    method = training["method"]
    fair = metrics.before is not None
    what = f"trained with `{method}`"
    if fair:
        what += f" to balance the groups of `{balance.get('group')}` (rule `{balance.get('rule')}`)"
    parts = [
        "---\nlibrary_name: bifair-dist\ntags:\n- recommender-systems\n- fairness\n---",
        f"# {run.name}",
        f"Recommender {what}: top-{training['k']} lists of items for users, and items near an item. "
        "BiFair: arXiv 2507.04294; backbone AlphaRec: arXiv 2407.05441.",
        '```python\nimport bifair_dist as bd\n\nrun = bd.load_run("FOLDER")\nrun.recommend(users, k=20)\n```',
        *_reported(run),
        "## Accuracy and fairness on test pairs",
        f"{metrics.test.users:,} users were measured. "
        + (
            "Before: the same model before its fairness-aware phases." if fair else "There was no fairness-aware phase."
        ),
        _pairs(["figure"], (((name,), pair) for name, pair in headline_figures(metrics).items())),
        "CV (lower is fairer) is the coefficient of variation of recall over a table's groups, MIN (higher is fairer) "
        "the mean of its lowest quarter.",
        "## Recall by group",
        _pairs(["table", "group"], by_group(metrics).items()),
        "## Data",
        *_data(config),
        "## Settings",
        _table(["setting", "value"], [(key, f"`{value}`") for key, value in _settings(config)]),
        "## Limits",
        "\n".join(f"- {line}" for line in (*LIMITS, *(f"The training warned: {line}" for line in run.warnings))),
    ]
    return "\n\n".join(parts) + "\n"


def _reported(run: Run) -> list[str]:
    """The report's sentences, with intervals, where there is a report."""
    path = run.report.with_suffix(".json")
    if not path.is_file():
        return []
    (found,) = json.loads(path.read_text(encoding="utf-8"))["runs"][:1]
    return ["## In short", "\n".join(f"- {line}" for line in [*found["headline"], *found["notes"]])]


def _data(config: Mapping[str, Any]) -> list[str]:
    data, out = config["data"], []
    try:
        manifest = read_dataset_manifest(Path(data["dataset"]))
    except UserError as error:
        return [f"The dataset is no longer where it was: {error}."]
    options = {key: value for key, value in (manifest.get("options") or {}).items() if value not in (None, [], ())}
    counts = ", ".join(f"{value:,} {key}" for key, value in manifest["counts"].items() if isinstance(value, int))
    out.append(
        f"Source `{manifest.get('source')}`: {counts}. Prepared with `{json.dumps(options, ensure_ascii=False)}`."
    )
    sums = "\n".join(f"- `{name}`: `{digest}`" for name, digest in sorted(manifest["checksums"].items()))
    out.append(f"SHA-256 of its files:\n\n{sums}")
    if data.get("representations"):
        try:
            vectors = read_manifest(data["representations"])
            known = {key: vectors[key] for key in ("model", "revision", "template", "pooling") if vectors.get(key)}
            out.append(
                f"Item texts were encoded with `{json.dumps(known, ensure_ascii=False)}`, {vectors['dim']} wide."
            )
        except UserError as error:
            out.append(f"The item vectors it began with are no longer where they were: {error}.")
    return out


def _settings(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{section}.{key}", value)
        for section in ("model", "bilevel", "balance", "training")
        for key, value in config.get(section, {}).items()
        if key not in ("output", "run_name", "warm_start", "report") and not isinstance(value, dict)
    ]


def _pairs(names: list[str], rows: Iterable[tuple[Sequence[str], Pair]]) -> str:
    filled = [(*key, number(before), number(after), change(after, before)) for key, (before, after) in rows]
    return _table([*names, "before", "after", "change"], filled)


def _table(names: list[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
