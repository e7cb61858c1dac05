"""Prior unfairness: how well frozen item vectors alone find a user's held-out items, by group, before any training.

    user u = mean of z_i / |z_i| over the user's training items,    score(u, i) = cosine of u and z_i

Full ranking over the catalogue without what the user has, and the project's own metrics. A language model that serves
a group badly here hands this on to whatever is trained on its vectors (the "prior" source of arXiv 2507.04294).

Two references stand beside the figures. Chance: in a random order of the n_u items that user u does not have, each
is in the list with probability c_u = min(1, K / n_u), so E[recall_{u,g}@K] = c_u in every group g, and
E[ndcg_u@K] = (P_u / n_u) sum_{j <= min(K, n_u)} 1 / log2(j + 1) over the DCG of min(K, P_u) hits on top, P_u being the
user's held-out items. Differences: each folder against the first one, with percentile intervals of a bootstrap in
which all folders share the weights: over users (`evaluation/bootstrap.py`), and over users and held-out items
(`redrawn.py`), the wider ones, since few items make most of the hits of vectors that were never trained for this.
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

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, Interactions, read_dataset
from bifair_dist.data.representations import check_representations, read_rows
from bifair_dist.embedding.redrawn import redrawn_utilities
from bifair_dist.embedding.settings import ProbeSettings
from bifair_dist.errors import UserError
from bifair_dist.evaluation import EvaluationResult, GroupMembership, bootstrap_intervals, evaluate, full_ranking
from bifair_dist.evaluation.bootstrap import interval, poisson_weights
from bifair_dist.evaluation.inequality import coefficient_of_variation, lowest_quarter
from bifair_dist.evaluation.metrics import summarise, user_columns
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs.text import number

SEED = 0  # of the bootstrap: intervals are the same in every run
REPLICATES = 500
LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
_USERS = 4096  # whose bootstrap weights are held at a time


def probe(settings: ProbeSettings) -> dict[str, Any]:
    """Metrics of each folder: `dataset`, `split`, `k`, `users`, `without_history`, `chance` and `folders`.

    `folders` maps a name to what the manifest says (`model`, `template`, ...), the metrics of `EvaluationResult`,
    `intervals` (over users) and, from the second folder on, `differences` from the first. `chance` has the expected
    recall and NDCG of a random order, and per group table its `utility`, `cv` and `min` and the `users` that a utility
    is the mean over. Users without training items have no vector and are left out (`without_history`). Memory: float64
    for the vectors of all items and users; scores come in blocks of users.
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
    redrawn: list[list[Tensor]] = []
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
        if len(names) > 1:
            replicates = {"n_items": dataset.n_items, "seed": SEED, "replicates": REPLICATES}
            redrawn.append(redrawn_utilities(items, users, wanted, groups, **replicates))
    for name, found in zip(names[1:], differences(results, redrawn), strict=True):
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


def differences(results: Sequence[EvaluationResult], redrawn: Sequence[Sequence[Tensor]]) -> list[dict[str, Any]]:
    """Second, third, ... result minus the first; all over the same users. `redrawn`: `redrawn_utilities` of each.

    Keys as in `EvaluationResult.to_dict`: recall and NDCG, and per group table `cv`, `min` and `utility` by label. An
    entry has `difference` and the intervals `users` and `users_and_items` (not for NDCG); None where not defined.
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
    by_user = [_of_sums(total, sizes) for total in sums]
    by_both = [_of_utilities(found) for found in redrawn]
    out = []
    for other in range(1, len(results)):
        minus = {key: by_user[other][key] - by_user[0][key] for key in by_user[0]}
        both = {key: by_both[other][key] - by_both[0][key] for key in by_both[0]}
        entry = {key: _entry(values, both.get(key)) for key, values in minus.items()}
        found: dict[str, Any] = {f"recall@{k}": entry["recall", 0], f"ndcg@{k}": entry["ndcg", 0], "groups": {}}
        for t, table in enumerate(tables):
            utility = {label: entry[f"utility {g}", t] for g, label in enumerate(table.labels)}
            found["groups"][table.name] = {"cv": entry["cv", t], "min": entry["min", t], "utility": utility}
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
        lines += ["", f"{name} minus {first}, with 95 % intervals over users, and over users and held-out items"]
        for text, keys in rows:
            change = _change(_at(folders[name]["differences"], keys), _at(folders[first], keys)) if keys else ""
            lines.append(f"{text:<{label}}  {change}".rstrip())
    lines += ["", f"{found['users']:,} users. chance: what a random order gives on average"]
    if found["without_history"]:
        lines.append(f"{found['without_history']:,} users without training items are left out")
    for name, entry in folders.items():
        lines.append(f"{name}: {100 * entry['coverage']:.0f} % of the items come into any list")
        if entry["zero_vectors"]:
            lines.append(f"{name}: {entry['zero_vectors']:,} items have a zero vector, cosine 0 to everything")
    return "\n".join(lines)


def probe_and_print(settings: ProbeSettings) -> None:
    """`jobs/embed.py probe`: the table, and the JSON file where one is asked for.

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


def _of_sums(sums: Tensor, sizes: Sequence[int]) -> dict[tuple[str, int], Tensor]:
    """Figures [R] by name and group table from sums [R, columns] of `user_columns`."""
    accuracy, summaries = summarise(sums, sizes)
    recall = accuracy["recall"].unsqueeze(1)
    return {**_of_utilities([recall, *(s.utility for s in summaries)]), ("ndcg", 0): accuracy["ndcg"]}


def _of_utilities(utilities: Sequence[Tensor]) -> dict[tuple[str, int], Tensor]:
    """Figures [R] by name and group table from recall [R, 1] and the utilities [R, G] of each table."""
    out = {("recall", 0): utilities[0][:, 0]}
    for t, utility in enumerate(utilities[1:]):
        out["cv", t], out["min", t] = coefficient_of_variation(utility), lowest_quarter(utility)
        out |= {(f"utility {g}", t): column for g, column in enumerate(utility.unbind(1))}
    return out


def _entry(over_users: Tensor, over_both: Tensor | None) -> dict[str, Any] | None:
    """The difference (first of `over_users`) with the intervals of its replicates."""
    if over_users[0].isnan():
        return None
    both = None if over_both is None else interval(over_both, TAIL)
    return {"difference": float(over_users[0]), "users": interval(over_users[1:], TAIL), "users_and_items": both}


def _plain(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _at(entry: dict[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        entry = entry[key]
    return entry


def _change(change: dict[str, Any] | None, before: float | None) -> str:
    if change is None:
        return "-"
    value = change["difference"]
    intervals = [change["users"], change["users_and_items"]]
    cells = "  ".join("-".center(18) if i is None else f"[{i[0]:+.4f}, {i[1]:+.4f}]" for i in intervals)
    return f"{value:+8.4f}  {cells}" + (f"{100 * value / before:+8.1f} %" if before else "")
