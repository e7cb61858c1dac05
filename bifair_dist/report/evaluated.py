"""`jobs/evaluate.py`: lists of any tool measured as the trainer measures its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.reading import Notes
from bifair_dist.errors import UserError
from bifair_dist.evaluation.bootstrap import bootstrap_intervals
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.metrics import evaluate
from bifair_dist.files import write_json
from bifair_dist.parallel.comm import Comm
from bifair_dist.report.evaluate_settings import EvaluateSettings
from bifair_dist.report.lists import read_groups, read_lists
from bifair_dist.runs import Run
from bifair_dist.runs.text import number
from bifair_dist.settings import load
from bifair_dist.training.evaluator import popularity_of
from bifair_dist.training.settings import TrainSettings


def evaluate_lists(settings: EvaluateSettings) -> dict[str, Any]:
    """Measure, print a table, write the JSON; returns its content. Raises `UserError`.

    Users with pairs to find again for whom the file has no list count with nothing found.
    """
    lists, dataset = _inputs(settings)
    read = Notes()
    users, items = read_lists(lists, dataset, settings.k, read)
    wanted = wanted_pairs(dataset, settings.split)
    asked = torch.nonzero(wanted.counts() > 0).squeeze(1)
    groups = memberships(dataset)
    for path in settings.groups:
        groups = [g for g in groups if g.name != Path(path).name.partition(".")[0]]
        groups.append(read_groups(Path(path), dataset, read))
    notes = [*read.said, *read.warnings, *_notes(dataset, settings, users, items, asked)]
    ranked = lists_of(asked, users, items)
    result = evaluate(
        ranked,
        asked,
        wanted,
        groups,
        n_items=dataset.n_items,
        comm=Comm(),
        k=settings.k,
        popularity=popularity_of(dataset),
    )
    summary: dict[str, Any] = {"split": settings.split, "recommendations": str(lists), **result.to_dict()}
    if settings.replicates:
        summary["intervals"] = bootstrap_intervals(result, Comm(), seed=settings.seed, replicates=settings.replicates)
    print("\n".join([*notes, *_table(summary)]), flush=True)
    if settings.output:
        out = Path(settings.output)
        write_json(out, summary)
        print(f"\nwritten: {out}", flush=True)
    return summary


def wanted_pairs(dataset: Dataset, split: str) -> Csr:
    """The items that each user's list should have, those of the user's pairs in `split`."""
    pairs = getattr(dataset, split)
    return Csr.of(torch.from_numpy(pairs.user), torch.from_numpy(pairs.item), dataset.n_users)


def lists_of(asked: Tensor, users: Tensor, items: Tensor) -> Tensor:
    """Lists [A, k] of the users `asked` (ascending), from those of `users` [U, k]; all -1 for one without a list."""
    ranked = torch.full((len(asked), items.shape[1]), -1, dtype=torch.int64)
    there = torch.isin(users, asked)
    ranked[torch.searchsorted(asked, users[there])] = items[there]
    return ranked


def memberships(dataset: Dataset) -> list[GroupMembership]:
    """The dataset's group tables, as evaluation takes them."""
    return [
        GroupMembership(t.name, t.entity, t.labels, torch.from_numpy(t.entity_index), torch.from_numpy(t.group_index))
        for t in dataset.groups.values()
    ]


def _inputs(settings: EvaluateSettings) -> tuple[Path, Dataset]:
    """The file of lists and the dataset."""
    lists, dataset = settings.recommendations, settings.dataset
    if settings.run:
        run = Run.of(settings.run, "run")
        dataset = dataset or load(TrainSettings(), run.config_file).data.dataset
        lists = lists or str(run.recommendations)
    if not lists or not dataset:
        raise UserError("give --run, or --recommendations and --dataset")
    return Path(lists), read_dataset(dataset)


def _notes(
    dataset: Dataset, settings: EvaluateSettings, users: torch.Tensor, items: torch.Tensor, asked: torch.Tensor
) -> list[str]:
    """What a reader should know of the lists before the figures."""
    notes = []
    missing = int((~torch.isin(asked, users)).sum())
    if missing:
        notes.append(f"{missing:,} of {len(asked):,} users have no list: nothing found for them")
    train = torch.from_numpy(dataset.train.user.astype(np.int64) * dataset.n_items + dataset.train.item)
    listed = (users.unsqueeze(1) * dataset.n_items + items)[items >= 0]
    known = int(torch.isin(listed, train).sum())
    if known:
        notes.append(f"{known:,} of {len(listed):,} places in the lists are pairs of the training data")
    short = int((items < 0).any(1).sum())
    if short:
        notes.append(f"{short:,} lists are shorter than {settings.k}")
    return notes


def _table(summary: dict[str, Any]) -> list[str]:
    """Every figure with its interval."""
    intervals: dict[str, Any] = summary.get("intervals", {})
    rows: list[tuple[str, float | None, Any]] = []
    for name in summary:
        if "@" in name:
            rows.append((name, summary[name], intervals.get(name)))
    for name, table in summary["groups"].items():
        ends = intervals.get("groups", {}).get(name, {})
        rows += [("", None, None), (f"{name}: CV (lower is fairer)", table["cv"], ends.get("cv"))]
        rows.append((f"{name}: MIN (higher is fairer)", table["min"], ends.get("min")))
        rows += [(f"  {g}", v, ends.get("utility", {}).get(g)) for g, v in table["utility"].items()]
    width = max(len(name) for name, *_ in rows)
    head = f"{summary['split']:<{width}}  {'value':>8}" + ("  95 % interval" if intervals else "")
    return [head] + [
        f"{name:<{width}}  {number(value):>8}" + (f"  {ends[0]:.4f} to {ends[1]:.4f}" if ends else "") if name else ""
        for name, value, ends in rows
    ]
