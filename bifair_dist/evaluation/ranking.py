"""Full ranking of the catalogue on item shards.

Each rank owns a shard of the items and of the users (`parallel.comm.row_range`). Users go round in blocks: the
block's rows are gathered everywhere, every rank scores them against its own items and keeps its top-k, and the lists
go back to the rank that owns the user, which merges them. Of the U x N scores one small tile exists at a time
(`scan.py`); W k candidates per user travel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.evaluation.scan import product_topk
from bifair_dist.evaluation.topk import NO_ITEM, merge
from bifair_dist.parallel.comm import Comm, row_range, shard_rows

_BLOCK = 4096
"""Users of a block over all ranks, by default."""


def full_ranking(
    user_rows: Tensor,
    item_rows: Tensor,
    *,
    n_users: int,
    n_items: int,
    known: Csr,
    users: Tensor,
    k: int,
    comm: Comm,
    block: int = _BLOCK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Top-k items of every user in `users`, by dot product, without the items the user is known to have.

    Args:
        user_rows: [m_u, D], this rank's users, padded to m_u = ceil(n_users / W) rows.
        item_rows: [m_i, D], this rank's items, padded to m_i = ceil(n_items / W) rows; padding is never returned.
        n_users, n_items: totals over all ranks.
        known: items to leave out (train; and validation at test time), for all users.
        users: int64[U], whom to rank; the same on every rank, without duplicates.
        k: length of the lists.
        comm: the ranks.
        block: users ranked between two exchanges, over all ranks.

    Returns:
        (items int64[U_r, k], scores float32[U_r, k], users int64[U_r]) for the members of `users` that this rank
        owns, in the order given. Where fewer than k items are left: item -1, score -inf.
    """
    device, size = item_rows.device, comm.size
    known, users = known.to(device), users.to(device)
    first_user, _ = row_range(n_users, size, comm.rank)
    first_item, end_item = row_range(n_items, size, comm.rank)
    items_here = item_rows[: end_item - first_item]

    owner = torch.div(users, shard_rows(n_users, size), rounding_mode="floor")
    owned = [users[owner == rank] for rank in range(size)]
    longest = max(len(u) for u in owned)
    share = max(block // size, 1)  # users that each rank puts into a block

    found_items, found_scores = [], []
    for start in range(0, longest, share):
        width = min(share, longest - start)
        parts = [u[start : start + width] for u in owned]
        mine = user_rows.new_zeros(width, user_rows.shape[1])
        mine[: len(parts[comm.rank])] = user_rows[parts[comm.rank] - first_user]
        lengths = [len(part) for part in parts]
        gathered = [rows[:n] for rows, n in zip(comm.all_gather(mine, "ranking"), lengths, strict=True)]
        row, item = known.expand(torch.cat(parts))
        here = (item >= first_item) & (item < end_item)
        values, index = product_topk(torch.cat(gathered), items_here, k, (row[here], item[here] - first_item))
        index = torch.where(index == NO_ITEM, index, index + first_item)
        if size > 1:
            shapes = [(lengths[comm.rank], k)] * size
            values = torch.cat(comm.exchange(values.split(lengths), shapes, "ranking"), dim=1)
            index = torch.cat(comm.exchange(index.split(lengths), shapes, "ranking"), dim=1)
            values, index = merge(values, index, k)
        found_scores.append(values)
        found_items.append(index)
    if not found_items:
        found_items, found_scores = [users.new_zeros(0, k)], [torch.zeros(0, k, device=device)]
    return torch.cat(found_items), torch.cat(found_scores), owned[comm.rank]
