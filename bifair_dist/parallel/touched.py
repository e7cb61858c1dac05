"""Which rows a cached step touches, by their owners: the sharded sibling of `bifair_dist.model.cached`.

Rows of items and of users are shared out as in layout.py. Every worker knows the batch and so the distinct nodes of all
workers; only what is drawn of a user's history is known to the user's owner alone and sent to the others (int64, a few
a user). All sizes here are the batch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch
from bifair_dist.model.cached import Nodes
from bifair_dist.model.graph import Graph
from bifair_dist.parallel.cached_exchange import Drawn, FromHistory, ToAll, TotalSum
from bifair_dist.parallel.comm import Comm, row_range, shard_rows
from bifair_dist.parallel.keyed import drawn


@dataclass(frozen=True, slots=True)
class Part:
    """Distinct ids of one side of a batch, ascending: all of them, and how many lie with each worker (in rank order).

    `where` int64: for every id that was asked for, its place among the distinct ones.
    """

    ids: Tensor
    where: Tensor
    counts: list[int]

    @classmethod
    def of(cls, asked: Tensor, n: int, size: int) -> Part:
        """From ids below n, int64 [M], owned in ranges as rows are."""
        ids, where = torch.unique(asked, return_inverse=True)
        bounds = torch.arange(size + 1) * shard_rows(n, size)
        return cls(ids, where, torch.searchsorted(ids, bounds).diff().tolist())

    def own(self, rank: int) -> Tensor:
        """Those of one worker."""
        start = sum(self.counts[:rank])
        return self.ids[start : start + self.counts[rank]]


@dataclass(frozen=True, slots=True)
class BatchNodes:
    """`Nodes` of one batch on this worker; index tensors are on the device of its rows."""

    comm: Comm
    users: Tensor
    items: Tensor
    item_at: Tensor
    drawn: Drawn
    counts: list[int]  # nodes of each worker, users and items
    places: tuple[Tensor, Tensor, Tensor]  # of this slice's users, positives and negatives among all workers' nodes

    def history(self, z: Tensor) -> Tensor:
        """Zeros [a, d] whose gradient goes to the owners of the drawn items."""
        out: Tensor = FromHistory.apply(z, self.drawn, self.comm)
        return out

    def total(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum over the workers."""
        out: Tensor = TotalSum.apply(tensor, self.comm, tag)
        return out

    def examples(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """All workers' nodes come together on every worker, the batch's rows k wide; each takes its slice's."""
        whole: Tensor = ToAll.apply(outputs, self.counts, self.comm)
        users, positives, negatives = (whole.index_select(0, p.reshape(-1)) for p in self.places)
        return users, positives, negatives.view(*self.places[2].shape, -1)


class TouchedRows:
    """`Touching` over the ranks of `comm`; `per` draws from the history of each user of a batch, 0: none are used.

    Reads the rows of the graph that belong to its own users, and no others.
    """

    def __init__(self, comm: Comm, graph: Graph, per: int) -> None:
        self.comm, self.per = comm, per
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.user_range = row_range(self.n_users, comm.size, comm.rank)
        self.item_range = row_range(self.n_items, comm.size, comm.rank)
        start, stop = self.user_range
        self.device = graph.user_degree.device
        indptr = graph.forward.crow_indices()[start : stop + 1].cpu().long()
        # Of a graph on the CPU this is a view: no pair is copied.
        self.known = Csr(indptr - indptr[0], graph.forward.col_indices()[int(indptr[0]) : int(indptr[-1])].cpu())

    def own(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """This worker's rows of matrices of all users and items."""
        return users[slice(*self.user_range)], items[slice(*self.item_range)]

    def find(self, batches: Sequence[Batch]) -> tuple[Tensor, list[Nodes]]:
        """Rows of Z and nodes, as `Touching` has it. All workers call it together."""
        size, rank = self.comm.size, self.comm.rank
        parts, drawn = [], []
        for batch in batches:
            users = Part.of(batch.users.cpu(), self.n_users, size)
            asked = torch.cat([batch.positives, batch.negatives.reshape(-1)]).cpu()
            parts.append((users, Part.of(asked, self.n_items, size)))
            drawn.append(self._draws(users, batch.key))
        first = self.item_range[0]
        wanted = [items.own(rank) - first for _, items in parts]
        rows = torch.unique(torch.cat([*wanted, *(self._of(d, rank)[1] - first for ds in drawn for d in ds)]))
        found: list[Nodes] = [
            self._nodes(batch, users, items, rows, draws)
            for batch, (users, items), draws in zip(batches, parts, drawn, strict=True)
        ]
        return rows.to(self.device), found

    def _draws(self, users: Part, key: int) -> list[Tensor]:
        """Items drawn for the users of every worker, int64 [a, per] each; -1 where a user has none."""
        shapes = [(count, self.per) for count in users.counts]
        own = users.own(self.comm.rank)
        rows = own - self.user_range[0]
        first = self.known.indptr[rows]
        degrees = self.known.indptr[rows + 1] - first
        at = first.unsqueeze(1) + drawn(own, self.per, degrees, key)
        none = (degrees == 0).unsqueeze(1).expand_as(at)
        items = self.known.columns[at.masked_fill(none, 0)].long().masked_fill(none, -1) if at.numel() else at
        chunks = [items.to(self.device)] * self.comm.size
        return [t.cpu() for t in self.comm.exchange(chunks, shapes, "history")]

    def _of(self, draws: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """(position in the flat draws, item) of those whose items belong to `rank`."""
        flat = draws.reshape(-1)
        start, stop = row_range(self.n_items, self.comm.size, rank)
        at = ((flat >= start) & (flat < stop)).nonzero().squeeze(1)
        return at, flat[at]

    def _nodes(self, batch: Batch, users: Part, items: Part, rows: Tensor, draws: list[Tensor]) -> BatchNodes:
        size, rank, first = self.comm.size, self.comm.rank, self.item_range[0]
        own_items = items.own(rank) - first
        counts = [a + b for a, b in zip(users.counts, items.counts, strict=True)]
        place_users, place_items = _places(users.counts, items.counts)
        b, shared = batch.size, batch.negatives.dim() == 1
        mine = slice(batch.start, batch.stop)
        negatives = items.where[b:].view(batch.negatives.shape)
        places = (users.where[mine], items.where[:b][mine], negatives if shared else negatives[mine])
        to = [self._of(draws[rank], s)[0] // max(self.per, 1) for s in range(size)]
        at = [torch.searchsorted(rows, self._of(d, rank)[1] - first) for d in draws]
        return BatchNodes(
            comm=self.comm,
            users=(users.own(rank) - self.user_range[0]).to(self.device),
            items=own_items.to(self.device),
            item_at=torch.searchsorted(rows, own_items).to(self.device),
            drawn=Drawn.of(to, at, users.counts[rank], len(rows), self.per, self.device),
            counts=counts,
            places=(
                place_users[places[0]].to(self.device),
                place_items[places[1]].to(self.device),
                place_items[places[2]].to(self.device),
            ),
        )


def _places(users: list[int], items: list[int]) -> tuple[Tensor, Tensor]:
    """Where distinct users and items are when every worker's users and then its items stand one after another."""
    at, first, second = 0, [], []
    for a, b in zip(users, items, strict=True):
        first.append(torch.arange(at, at + a))
        second.append(torch.arange(at + a, at + a + b))
        at += a + b
    return torch.cat(first), torch.cat(second)
