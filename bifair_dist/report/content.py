"""`report.json`: everything that the page shows, as data. The page is made from this and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bifair_dist.data.balanced import balanced_tables, group_labels
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.errors import UserError
from bifair_dist.report.drift import Vectors
from bifair_dist.report.examples import Namer, drift_of, users_of
from bifair_dist.report.headline import headline
from bifair_dist.report.measured import Measured, measure
from bifair_dist.report.run_files import RunFiles
from bifair_dist.report.settings import ReportSettings
from bifair_dist.runs import GroupFigures, Validation
from bifair_dist.settings import flatten, override
from bifair_dist.training.provenance import data_checksums
from bifair_dist.training.settings import TrainSettings

HISTORY = ("phase", "epoch", "step", "loss", "best", "weights", "group_losses", "group", "z_drift")


def content_of(runs: Sequence[RunFiles], settings: ReportSettings) -> dict[str, Any]:
    """The whole content. Raises `UserError` where runs cannot be compared or their data are gone."""
    checked = [_at(run, settings) for run in runs]
    first = checked[0].settings
    dataset = read_dataset(first.data.dataset)
    out = []
    for run in checked:
        k, data = run.settings.training.k, run.settings.data.dataset
        if k != first.training.k:
            raise UserError(f"{run.folder}: its lists have {k} items, those of {runs[0].folder} {first.training.k}")
        if data != first.data.dataset and read_dataset(data).manifest["checksums"] != dataset.manifest["checksums"]:
            raise UserError(
                f"{run.folder} and {runs[0].folder} are of different datasets ({data}, {first.data.dataset}); make a "
                "report of each"
            )
        out.append(_run(run, dataset, settings))
    about = {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "pairs": {split: len(getattr(dataset, split)) for split in ("train", "valid", "test")},
        "groups": {name: _table(dataset, name) for name in dataset.groups},
    }
    return {"format": "bifair-report", "format_version": 1, "k": first.training.k, "dataset": about, "runs": out}


def _at(run: RunFiles, settings: ReportSettings) -> RunFiles:
    """The run with its data where the reader says they are."""
    data = run.settings.data
    dataset, vectors = settings.dataset or data.dataset, settings.representations or data.representations
    return replace(run, settings=override(run.settings, {"data.dataset": dataset, "data.representations": vectors}))


def _table(dataset: Dataset, name: str) -> dict[str, Any]:
    """A group table's sizes: members, and of item groups the share of items and of training pairs by label."""
    table = dataset.groups[name]
    out: dict[str, Any] = {
        "entity": table.entity,
        "sizes": {label: int(n) for label, n in zip(table.labels, table.sizes(), strict=True)},
    }
    if table.entity == "item":
        popularity = np.bincount(dataset.train.item, minlength=dataset.n_items)
        pairs = np.bincount(table.group_index, popularity[table.entity_index], len(table.labels)) / len(dataset.train)
        out["item_share"] = {label: n / dataset.n_items for label, n in out["sizes"].items()}
        out["pair_share"] = {label: float(share) for label, share in zip(table.labels, pairs, strict=True)}
    return out


def _run(run: RunFiles, dataset: Dataset, settings: ReportSettings) -> dict[str, Any]:
    found = measure(run.run, dataset, run.settings.training.k, seed=settings.seed, replicates=settings.replicates)
    namer = Namer(dataset, run.group)
    before = run.metrics.before
    config = flatten(run.settings)
    usual = flatten(TrainSettings())
    entry: dict[str, Any] = {
        "name": run.folder.name,
        "method": run.settings.training.method,
        "rule": run.settings.balance.rule if run.settings.training.balances else None,
        "fairness_strength": run.settings.balance.fairness_strength if run.settings.training.balances else None,
        "group": run.group,
        "tables": run.tables,
        "balanced_groups": _balanced_groups(run, dataset),
        "test": run.metrics.test.to_json(),
        "valid": run.metrics.valid.to_json(),
        "before": None if before is None else before.to_json(),
        "intervals": found.intervals,
        "counted_users": found.counts,
        "warnings": run.warnings,
        "history": [_record(v, run) for v in run.history],
        "front": run.front,
    }
    entry["headline"] = headline(entry)
    entry["drift"], missing = _drift(run, dataset, namer, entry)
    entry["users"] = users_of(dataset, namer, found.users, found.after, found.before)
    entry["provenance"] = {
        **run.provenance.to_json(),
        "dataset_manifest": {key: dataset.manifest.get(key) for key in ("source", "seed", "options", "checksums")},
    }
    entry["config"] = config
    entry["changed_settings"] = {key: value for key, value in config.items() if value != usual[key]}
    entry["notes"] = [*_notes(run, found), *missing]
    return entry


def _balanced_groups(run: RunFiles, dataset: Dataset) -> list[str]:
    if not run.settings.training.balances:
        return []
    return list(group_labels(balanced_tables(run.settings.balance.group, dataset.groups)))


def _record(validation: Validation, run: RunFiles) -> dict[str, Any]:
    table, k = validation.valid.groups.get(run.group, GroupFigures()), run.settings.training.k
    figures = {f"recall@{k}": validation.valid.accuracy.get(f"recall@{k}"), "cv": table.cv, "min": table.minimum}
    return {**{key: getattr(validation, key) for key in HISTORY}, "valid": figures}


def _drift(
    run: RunFiles, dataset: Dataset, namer: Namer, entry: dict[str, Any]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Drift, and a line that says why there is none where one would be expected."""
    first = run.first_vectors
    if first is None:
        return None, []
    if not (first / "manifest.json").is_file():
        return None, [f"How far items moved is left out: the vectors that the run began with are no longer at {first}."]
    utility = (entry["before"] or entry)["test"]["groups"].get(run.group, {}).get("utility", {})
    known = sorted((value, label) for label, value in utility.items() if value is not None)
    marked = [known[0][1], known[-1][1]] if known else []
    try:
        vectors = [Vectors(folder, dataset.item_ids) for folder in (first, run.run.item_vectors)]
        return drift_of(vectors[0], vectors[1], dataset, namer, marked), []
    except UserError as error:
        return None, [f"How far items moved is left out: {error}."]


def _notes(run: RunFiles, found: Measured) -> list[str]:
    """What a reader should know before trusting the figures."""
    notes = []
    about, k = found.intervals, run.settings.training.k
    if about["users"] < about["of_users"]:
        notes.append(f"Intervals are of {about['users']:,} of the {about['of_users']:,} users, evenly spaced.")
    else:
        for name in (f"recall@{k}", f"ndcg@{k}"):
            recorded, now = run.metrics.test.accuracy[name], found.figures.accuracy[name]
            if abs((recorded or 0) - (now or 0)) > 1e-6:
                notes.append(f"The lists give {name} {now:.4f}, metrics.json {recorded:.4f}: a file was changed since.")
    checksums = data_checksums(run.settings)
    for key, checksum in run.provenance.data.items():
        if checksums.get(key) not in (checksum, None):
            notes.append(f"The folder of {key} is not the one that the run was trained on: its checksum differs.")
    if run.metrics.before is not None and found.before is None:
        notes.append("The run kept no lists of the state before, so that changes have no intervals.")
    return notes
