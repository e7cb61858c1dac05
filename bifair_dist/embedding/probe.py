"""Prior unfairness: how well frozen item vectors alone find a user's held-out items, by group, before any training.

    user u = mean of z_i / |z_i| over the user's training items,    score(u, i) = cosine of u and z_i

Full ranking over the catalogue without what the user has, and the project's own metrics. A language model that serves
a group badly here hands this on to whatever is trained on its vectors (the "prior" source of arXiv 2507.04294).
"""

from __future__ import annotations

import json
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
from bifair_dist.evaluation import GroupMembership, bootstrap_intervals, evaluate, full_ranking
from bifair_dist.parallel.comm import Comm

SEED = 0  # of the bootstrap: intervals are the same in every run


def probe(settings: ProbeSettings) -> dict[str, Any]:
    """Metrics for each folder: `dataset`, `split`, `k`, `chance` and `folders` (name -> metrics, model, intervals).

    `chance` is the expected utility of a random order of the items that a user does not have, k / (N - what the user
    has), mean over users. Users without training items have no vector and are left out (`without_history`). Raises
    `UserError` for a folder that was made for another dataset, and where nothing is given to compare.
    """
    if not settings.dataset:
        raise UserError("--dataset FOLDER is missing")
    if not settings.representations:
        raise UserError("--representations FOLDER,... is missing: the vectors to look at")
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
    left = (dataset.n_items - known.counts()[users]).clamp(min=1).double()
    out: dict[str, Any] = {
        "dataset": str(settings.dataset),
        "split": settings.split,
        "k": settings.k,
        "users": users.numel(),
        "without_history": int(asked.sum()) - users.numel(),
        "chance": float((settings.k / left).clamp(max=1).mean()),
        "folders": {},
    }
    for folder in settings.representations:
        manifest = check_representations(folder, dataset.item_ids)
        z = F.normalize(torch.from_numpy(np.ascontiguousarray(read_rows(folder, dataset.item_ids), np.float32)), dim=1)
        comm = Comm()
        items, _, mine = full_ranking(
            F.normalize(user_means(z, train), dim=1),
            z,
            n_users=dataset.n_users,
            n_items=dataset.n_items,
            known=known,
            users=users,
            k=settings.k,
            comm=comm,
        )
        result = evaluate(items, mine, wanted, groups, n_items=dataset.n_items, comm=comm, k=settings.k)
        about = {key: manifest.get(key, "") for key in ("model", "revision", "template", "prompt")}
        out["folders"][_name(folder, out["folders"])] = {
            **about,
            **result.to_dict(),
            "intervals": bootstrap_intervals(result, comm, seed=SEED),
        }
    return out


def user_means(z: Tensor, train: Csr) -> Tensor:
    """Mean of the rows of z [N, d] over each user's items: [U, d]; zeros for users without any."""
    offsets = train.indptr[:-1]
    sums = F.embedding_bag(train.columns, z, offsets, mode="sum")
    return sums / train.counts().clamp(min=1).to(z).unsqueeze(1)


def probe_table(found: dict[str, Any]) -> str:
    """The figures for a person, folders side by side; the change is the last folder's against the first's."""
    names = list(found["folders"])
    summaries = [found["folders"][name] for name in names]
    k, width = found["k"], max(10, *(len(name) for name in names))
    rows: list[tuple[str, list[float | None]]] = [(m, [s[m] for s in summaries]) for m in (f"recall@{k}", f"ndcg@{k}")]
    for table, first in summaries[0]["groups"].items():
        rows.append(("", []))
        rows.append((f"{table}: CV (lower is fairer)", [s["groups"][table]["cv"] for s in summaries]))
        rows.append((f"{table}: MIN (higher is fairer)", [s["groups"][table]["min"] for s in summaries]))
        rows += [(f"  {g}", [s["groups"][table]["utility"][g] for s in summaries]) for g in first["utility"]]
    label = max(len(r[0]) for r in rows)
    several = len(names) > 1
    head = (
        f"{found['split']:<{label}}  " + "  ".join(f"{n:>{width}}" for n in names) + ("    change" if several else "")
    )
    lines = [head]
    for text, values in rows:
        cells = "  ".join(f"{'-' if v is None else f'{v:.4f}':>{width}}" for v in values)
        change = ""
        if several and values and values[0] and values[-1] is not None:
            change = f"  {100 * (values[-1] / values[0] - 1):+6.1f} %"
        lines.append(f"{text:<{label}}  {cells}{change}".rstrip())
    lines.append("")
    lines.append(f"{found['users']:,} users; a random order would give each group {found['chance']:.4f}")
    if found["without_history"]:
        lines.append(f"{found['without_history']:,} users without training items are left out")
    return "\n".join(lines)


def probe_and_print(settings: ProbeSettings) -> None:
    """`jobs/embed.py --probe`: the table, and the JSON file where one is asked for. Raises `UserError`."""
    output = Path(settings.output).expanduser() if settings.output else None
    if output is not None and output.exists():
        raise UserError(f"{output}: already exists; remove it or choose another --output")
    found = probe(settings)
    print(probe_table(found))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(f"written to {output}")


def _name(folder: str, taken: dict[str, Any]) -> str:
    name = Path(folder).name or str(folder)
    return name if name not in taken else str(folder)


def _of(dataset: Dataset, *splits: Interactions) -> Csr:
    user, item = (np.concatenate([getattr(s, name) for s in splits]) for name in ("user", "item"))
    return Csr.of(torch.from_numpy(user), torch.from_numpy(item), dataset.n_users)
