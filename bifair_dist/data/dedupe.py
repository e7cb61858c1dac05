"""One row per user-item pair, in an order that does not depend on the order of the input."""

from __future__ import annotations

import numpy as np

from bifair_dist.data.raw import Pairs


def drop_duplicates(pairs: Pairs, n_items: int) -> tuple[Pairs, int]:
    """Sort by (user, item) and keep one row of each pair; return the rows and how many were dropped.

    Kept is the row of the earliest part (a pair in train and in test stays in train only: no leakage), within it the
    latest, within that the highest rated.
    """
    key = pairs.user.astype(np.int64) * n_items + pairs.item
    order = np.argsort(key, kind="stable")
    key = key[order]
    same = key[1:] == key[:-1]
    if not same.any():
        return pairs.take(order), 0
    # Only the rows of repeated pairs are put in order of preference, the best first.
    repeated = np.zeros(len(key), bool)
    repeated[1:] |= same
    repeated[:-1] |= same
    rows = order[repeated]
    zeros = np.zeros(len(rows), np.int8)
    preference = (
        zeros if pairs.rating is None else -pairs.rating[rows],
        zeros if pairs.timestamp is None else -pairs.timestamp[rows],
        zeros if pairs.part is None else pairs.part[rows],
        key[repeated],
    )
    order[repeated] = rows[np.lexsort(preference)]
    first = np.concatenate([[True], ~same])
    return pairs.take(order[first]), int(len(key) - first.sum())
