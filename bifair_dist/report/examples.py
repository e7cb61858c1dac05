"""Items and users of a run, by title: who moved, who is near whom, what a few users were and are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bifair_dist.data.dataset import Dataset, Index
from bifair_dist.report.drift import Numbers, Vectors, drifts, nearest, quantiles, spans
from bifair_dist.report.evaluated import memberships, wanted_pairs

MOVED, NEIGHBOURS = 15, 5
USERS, SHOWN, HISTORY = 3, 10, 5


class Namer:
    """Titles and groups of items, and how many training pairs each has: `train_pairs` int64 [N]."""

    def __init__(self, dataset: Dataset, group: str) -> None:
        self.dataset = dataset
        self.train_pairs = np.bincount(dataset.train.item, minlength=dataset.n_items)
        table = dataset.groups.get(group)
        self.labels = table.labels if table is not None and table.entity == "item" else ()
        self._groups = next((m for m in memberships(dataset) if m.name == group), None) if self.labels else None

    def title(self, item: int) -> str:
        """The title, or the id where there is none."""
        return str(self.dataset.titles[item] or self.dataset.item_ids[item])

    def groups(self, items: Sequence[int]) -> list[list[str]]:
        """Labels of each item in the table that training balanced; empty where that is of users."""
        out: list[list[str]] = [[] for _ in items]
        if self._groups is not None:
            member = np.isin(self._groups.entity_index.numpy(), items)
            places: dict[int, list[int]] = {}
            for place, item in enumerate(items):
                places.setdefault(int(item), []).append(place)
            pairs = zip(
                self._groups.entity_index[member].tolist(), self._groups.group_index[member].tolist(), strict=True
            )
            for item, group in pairs:
                for place in places[item]:
                    out[place].append(self.labels[group])
        return out


def drift_of(first: Vectors, last: Vectors, dataset: Dataset, namer: Namer, marked: Sequence[str]) -> dict[str, Any]:
    """Drift by group, the items that moved most, and the neighbours of a few before and after.

    `marked`: labels whose most popular item is among those few.
    """
    looked_at = spans(dataset.n_items, last.dim)
    items, drift = drifts(first, last, looked_at)
    order = np.lexsort((items, -drift))
    moved = [int(items[i]) for i in order[:MOVED]]
    chosen = [moved[0], int(items[order[len(order) // 2]]), *_popular(dataset, namer, marked)]
    chosen = list(dict.fromkeys(chosen))
    near = [nearest(vectors, looked_at, chosen, NEIGHBOURS) for vectors in (first, last)]
    by_item = np.full(dataset.n_items, np.nan)
    by_item[items] = drift
    return {
        "looked_at": len(items),
        "all": quantiles(drift),
        "groups": _by_group(dataset, by_item),
        "moved": [
            {
                "title": namer.title(item),
                "item_id": str(dataset.item_ids[item]),
                "groups": groups,
                "train_pairs": int(namer.train_pairs[item]),
                "drift": float(by_item[item]),
            }
            for item, groups in zip(moved, namer.groups(moved), strict=True)
        ],
        "neighbours": [
            {
                "title": namer.title(item),
                "item_id": str(dataset.item_ids[item]),
                "groups": groups,
                "drift": None if np.isnan(by_item[item]) else float(by_item[item]),
                "before": _near(before, namer),
                "after": _near(after, namer),
            }
            for item, groups, before, after in zip(chosen, namer.groups(chosen), *near, strict=True)
        ],
    }


def _by_group(dataset: Dataset, by_item: Numbers) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for table in dataset.groups.values():
        if table.entity == "item":
            values = by_item[table.entity_index]
            known = ~np.isnan(values)
            out[table.name] = {
                label: quantiles(values[known & (table.group_index == g)]) for g, label in enumerate(table.labels)
            }
    return out


def _popular(dataset: Dataset, namer: Namer, labels: Sequence[str]) -> list[int]:
    """The item with most training pairs of each group, and of the catalogue."""
    found = []
    groups = namer._groups
    for label in labels:
        if groups is not None and label in groups.labels:
            members = groups.entity_index[groups.group_index == groups.labels.index(label)].numpy()
            if len(members):
                found.append(int(members[np.argmax(namer.train_pairs[members])]))
    return [*found, int(np.argmax(namer.train_pairs))]


def _near(found: Sequence[tuple[int, float]], namer: Namer) -> list[dict[str, Any]]:
    return [{"title": namer.title(item), "cosine": cosine} for item, cosine in found]


def users_of(
    dataset: Dataset, namer: Namer, users: Tensor, after: Tensor, before: Tensor | None
) -> list[dict[str, Any]]:
    """What a few users have and are shown. They stand evenly spaced among `users`: not chosen for effect."""
    wanted = wanted_pairs(dataset, "test")
    out = []
    for row in sorted({len(users) * (2 * i + 1) // (2 * USERS) for i in range(min(USERS, len(users)))}):
        user = int(users[row])
        hits = set(wanted.columns[int(wanted.indptr[user]) : int(wanted.indptr[user + 1])].tolist())
        lists = {"after": after[row], **({} if before is None else {"before": before[row]})}
        had = _train_items(dataset, user)
        out.append(
            {
                "user_id": str(dataset.user_ids[user]),
                "train_pairs": len(had),
                "has": [namer.title(int(item)) for item in had[:HISTORY]],
                "test_pairs": len(hits),
                **{name: _shown(items, hits, namer) for name, items in lists.items()},
            }
        )
    return out


def _train_items(dataset: Dataset, user: int) -> Index:
    start, stop = np.searchsorted(dataset.train.user, (user, user + 1))
    return dataset.train.item[start:stop]


def _shown(items: Tensor, hits: set[int], namer: Namer) -> list[dict[str, Any]]:
    there = [int(item) for item in items[:SHOWN] if item >= 0]
    return [
        {"title": namer.title(item), "groups": groups, "wanted": item in hits}
        for item, groups in zip(there, namer.groups(there), strict=True)
    ]
