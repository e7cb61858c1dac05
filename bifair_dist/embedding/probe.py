"""Prior unfairness: how well frozen item vectors alone find a user's held-out items, by group, before any training.

    user u = mean of z_i / |z_i| over the user's training items,    score(u, i) = cosine of u and z_i

Full ranking over the catalogue without what the user has, and the project's own metrics. A language model that serves
a group badly here hands this on to whatever is trained on its vectors (the "prior" source of arXiv 2507.04294).

Two references stand beside the figures. Chance: in a random order of the n_u items that user u does not have, each
is in the list with probability c_u = min(1, K / n_u), so E[recall_{u,g}@K] = c_u in every group g, and
E[ndcg_u@K] = (P_u / n_u) sum_{j <= min(K, n_u)} 1 / log2(j + 1) over the DCG of min(K, P_u) hits on top, P_u being the
user's held-out items. Differences: each folder against the first one, user by user, with percentile intervals of a
bootstrap over users in which all folders share the weights (`evaluation/bootstrap.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.catalog.dataset import Dataset, Interactions, read_dataset
from bifair_dist.config import ProbeSettings
from bifair_dist.csr import Csr
from bifair_dist.embedding.representations import check_representations, read_rows
from bifair_dist.errors import UserError
from bifair_dist.evaluation import EvaluationResult, GroupMembership, bootstrap_intervals, evaluate, full_ranking
from bifair_dist.evaluation.bootstrap import poisson_weights
from bifair_dist.evaluation.inequality import coefficient_of_variation, lowest_quarter
from bifair_dist.evaluation.metrics import summarise, user_columns
from bifair_dist.parallel.comm import Comm
from bifair_dist.report.table import number

SEED = 0  # of the bootstrap: intervals are the same in every run
REPLICATES = 500
LEVEL = 0.95
_USERS = 4096  # whose bootstrap weights are held at a time


def probe(settings: ProbeSettings) -> dict[str, Any]:
    """Metrics of each folder: `dataset`, `split`, `k`, `users`, `without_history`, `chance` and `folders`.

    `folders` maps a name to what the manifest says (`model`, `template`, ...), the metrics of `EvaluationResult`,
    `intervals` and, from the second folder on, `differences` from the first: [difference, low, high], None where not
    defined. `chance` has the expected recall and NDCG of a random order, and per group table its `utility`, `cv` and
    `min` and the `users` that a utility is the mean over. Users without training items have no vector and are left
    out (`without_history`). Memory: float64 for the vectors of all items and users; scores come in blocks of users.
    Raises `UserError` for a folder that was made for another dataset, and where there is nothing to compare.
    """
    if not settings.dataset:
        raise UserError("--dataset FOLDER is missing")
    if not settings.representations:
        raise UserError("--representations FOLDER,... is missing: the vectors to look at")
    names = _names(settings.representations)
    dataset = read_dataset(settings.dataset)
    train, wanted = _of(dataset, dataset.train), _of(dataset, getattr(dataset, settings.split))
    known = train if settings.split == "valid" else _of(dataset, dataset.train, dataset.valid)
    asked = wanted.counts() > 0
    users = torch.nonzero(asked & (train.counts() > 0)).squeeze(1)
    if not users.numel():
        raise UserError(f"{settings.dataset}: no user has pairs both in train and in {settings.split}")
    groups = [
        GroupMembership(t.name, t.entity, t.labels, torch.from_numpy(t.entity_index), torch.from_numpy(t.group_index))
        for t in dataset.groups.values()
    ]
    folders: dict[str, dict[str, Any]] = {}
    results: list[EvaluationResult] = []
    for name, folder in zip(names, settings.representations, strict=True):
        manifest = check_representations(folder, dataset.item_ids)
        # Products in float64, ranked as float32: lists then do not depend on how a machine rounds and blocks sums.
        z = torch.from_numpy(np.ascontiguousarray(read_rows(folder, dataset.item_ids, dtype=np.float64)))
        items, comm = rank_by_history(z, train, known, users, settings.k), Comm()
        result = evaluate(items, users, wanted, groups, n_items=dataset.n_items, comm=comm, k=settings.k)
        about = ("model", "revision", "template", "prompt", "truncated")
        folders[name] = {
            **{key: manifest[key] for key in about if key in manifest},
            "zero_vectors": int((z == 0).all(1).sum()),
            **result.to_dict(),
            "intervals": bootstrap_intervals(result, comm, seed=SEED, replicates=REPLICATES, level=LEVEL),
        }
        results.append(result)
    for name, found in zip(names[1:], differences(results), strict=True):
        folders[name]["differences"] = found
    return {
        "dataset": str(settings.dataset),
        "split": settings.split,
        "k": settings.k,
        "users": users.numel(),
        "without_history": int(asked.sum()) - users.numel(),
        "chance": chance(results[0], wanted, dataset.n_items - known.counts()[users]),
        "folders": folders,
    }


def rank_by_history(z: Tensor, train: Csr, known: Csr, users: Tensor, k: int) -> Tensor:
    """The k items closest to the mean of each user's training items: int64[len(users), k], -1 where a list ends early.

    `z` [N, d] of any lengths; `known` items are left out; equal scores by ascending item index. A zero vector has
    cosine 0 to everything.
    """
    z = F.normalize(z, dim=1)
    sums = F.embedding_bag(train.columns, z, train.indptr[:-1], mode="sum")  # the mean has the same direction
    n_users = len(train.indptr) - 1
    items, _, _ = full_ranking(
        F.normalize(sums, dim=1), z, n_users=n_users, n_items=len(z), known=known, users=users, k=k, comm=Comm()
    )
    return items


def chance(result: EvaluationResult, wanted: Csr, left: Tensor) -> dict[str, Any]:
    """What a random order gives on average, in closed form; any `result` over the same users tells who counts where.

    `left` int64[U]: items that can come into the lists of `result.per_user.users`. `cv` and `min` are those of the
    expected utilities.
    """
    k, users = result.k, result.per_user.users
    positives = wanted.counts()[users]
    left = left.to(torch.float64).clamp_min(1.0)
    recall = (k / left).clamp_max(1.0)
    reached = (1.0 / torch.log2(torch.arange(k, dtype=torch.float64) + 2.0)).cumsum(0)  # DCG of hits on all places
    places = left.clamp_max(k).long()
    ndcg = positives / left * reached[places - 1] / reached[positives.clamp(1, k) - 1]
    groups = {}
    for table, values in zip(result.tables, result.per_user.groups, strict=True):
        members = torch.bincount(values.group, minlength=len(table.labels))
        sums = torch.zeros(len(table.labels), dtype=torch.float64).index_add_(0, values.group, recall[values.row])
        utility = sums / members  # 0 / 0: no user has a held-out item there
        groups[table.name] = {
            "cv": _plain(coefficient_of_variation(utility)),
            "min": _plain(lowest_quarter(utility)),
            "utility": {label: _plain(utility[g]) for g, label in enumerate(table.labels)},
            "users": {label: int(members[g]) for g, label in enumerate(table.labels)},
        }
    return {f"recall@{k}": float(recall.mean()), f"ndcg@{k}": float(ndcg.mean()), "groups": groups}


def differences(results: Sequence[EvaluationResult]) -> list[dict[str, Any]]:
    """Second, third, ... result minus the first, as [difference, low, high]; all over the same users.

    Keys as in `EvaluationResult.to_dict`: recall and NDCG, and per group table `cv`, `min` and `utility` by label.
    """
    k, tables, users = results[0].k, results[0].tables, results[0].per_user.users
    sizes = [len(table.labels) for table in tables]
    sums = torch.zeros(len(results), 1 + REPLICATES, 4 + 3 * sum(sizes), dtype=torch.float64)
    for start in range(0, len(users) if len(results) > 1 else 0, _USERS):
        part = users[start : start + _USERS].numpy()
        drawn = torch.from_numpy(poisson_weights(SEED, np.arange(REPLICATES), part))
        weights = torch.cat([torch.ones(1, len(part), dtype=torch.float64), drawn])  # row 0: every user once
        for total, result in zip(sums, results, strict=True):
            total += weights @ user_columns(result.per_user, sizes, start, start + len(part))
    figures = [_figures(total, sizes) for total in sums]
    out = []
    for other in figures[1:]:
        columns = iter((other - figures[0]).unbind(1))
        found: dict[str, Any] = {f"recall@{k}": _interval(next(columns)), f"ndcg@{k}": _interval(next(columns))}
        found["groups"] = {
            table.name: {
                "cv": _interval(next(columns)),
                "min": _interval(next(columns)),
                "utility": {label: _interval(next(columns)) for label in table.labels},
            }
            for table in tables
        }
        out.append(found)
    return out


def probe_table(found: dict[str, Any]) -> str:
    """The figures for a person: chance and folders side by side, then each folder's difference from the first."""
    k, chance_, folders = found["k"], found["chance"], found["folders"]
    rows: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in (f"recall@{k}", f"ndcg@{k}")]
    for table, entry in chance_["groups"].items():
        rows.append(("", ()))
        rows.append((f"{table}: CV (lower is fairer)", ("groups", table, "cv")))
        rows.append((f"{table}: MIN (higher is fairer)", ("groups", table, "min")))
        rows += [(f"  {label}", ("groups", table, "utility", label)) for label in entry["utility"]]
    label = max(len(text) for text, _ in rows)
    wide = max(8, *(len(name) for name in folders))
    head = "  ".join(f"{name:>{wide}}" for name in folders)
    lines = [f"{found['split']:<{label}}  {'users':>8}  {'chance':>8}  {head}".rstrip()]
    for text, keys in rows:
        if not keys:
            lines.append("")
            continue
        users = f"{_at(chance_, (*keys[:2], 'users', keys[3])):,}" if len(keys) == 4 else ""
        cells = "  ".join(f"{number(_at(entry, keys)):>{wide}}" for entry in folders.values())
        lines.append(f"{text:<{label}}  {users:>8}  {number(_at(chance_, keys)):>8}  {cells}")
    first, *others = folders
    for name in others:
        lines += ["", f"{name} minus {first}, with 95 % intervals over users"]
        for text, keys in rows:
            change = _change(_at(folders[name]["differences"], keys), _at(folders[first], keys)) if keys else ""
            lines.append(f"{text:<{label}}  {change}".rstrip())
    lines += ["", f"{found['users']:,} users. chance: what a random order gives on average"]
    if found["without_history"]:
        lines.append(f"{found['without_history']:,} users without training items are left out")
    for name, entry in folders.items():
        if entry["zero_vectors"]:
            lines.append(f"{name}: {entry['zero_vectors']:,} items have a zero vector, cosine 0 to everything")
    return "\n".join(lines)


def probe_and_print(settings: ProbeSettings) -> None:
    """`jobs/embed.py --probe`: the table, and the JSON file where one is asked for.

    Raises `UserError`, also where the file exists: figures are never written over.
    """
    output = Path(settings.output).expanduser() if settings.output else None
    if output is not None and output.exists():
        raise UserError(f"{output}: already exists; remove it or choose another --output")
    found = probe(settings)
    print(probe_table(found))
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with output.open("x", encoding="utf-8") as file:
                file.write(json.dumps(found, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(f"{output}: cannot be written ({error.strerror}); choose another --output") from None
        print(f"written to {output}")


def _names(folders: Sequence[str]) -> list[str]:
    """Last parts of the paths, whole paths where two are alike. Raises `UserError` for a folder given twice."""
    places = [Path(folder).expanduser().resolve() for folder in folders]
    for n, place in enumerate(places):
        if place in places[:n]:
            raise UserError(f"--representations: {folders[n]} is there twice; name each folder once")
    short = [place.name for place in places]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _of(dataset: Dataset, *splits: Interactions) -> Csr:
    user, item = (np.concatenate([getattr(s, name) for s in splits]) for name in ("user", "item"))
    return Csr.of(torch.from_numpy(user), torch.from_numpy(item), dataset.n_users)


def _figures(sums: Tensor, sizes: Sequence[int]) -> Tensor:
    """Recall, NDCG, then CV, MIN and utilities of each group table as columns: [R, 2 + sum(2 + G)]."""
    accuracy, summaries = summarise(sums, sizes)
    columns = [accuracy["recall"][:, None], accuracy["ndcg"][:, None]]
    for s in summaries:
        columns += [s.cv[:, None], s.minimum[:, None], s.utility]
    return torch.cat(columns, dim=1)


def _interval(values: Tensor) -> list[float] | None:
    """[value, low, high] of the value (first) and its replicates."""
    replicates = values[1:][~values[1:].isnan()]
    if values[0].isnan() or not len(replicates):
        return None
    tail = (1.0 - LEVEL) / 2.0
    return [float(values[0]), *(float(torch.quantile(replicates, q)) for q in (tail, 1.0 - tail))]


def _plain(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _at(entry: dict[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        entry = entry[key]
    return entry


def _change(change: list[float] | None, before: float | None) -> str:
    if change is None:
        return "-"
    value, low, high = change
    percent = f"{100 * value / before:+8.1f} %" if before else ""
    return f"{value:+8.4f}  [{low:+.4f}, {high:+.4f}]{percent}"
