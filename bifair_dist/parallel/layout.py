"""Rows and columns of a node matrix over W workers: the sharded sibling of `bifair_dist.model.layout.Whole`.

Rows: worker r holds rows [r m, (r+1) m), m = ceil(n / W), padded to m. Columns: worker r holds about c/W columns of all
n rows. Because row shards are contiguous, the padded row order is the global order, and padding is cut at the end.
A change of view is one all-to-all that sends (W-1)/W of what the worker holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.model.batch import Batch
from bifair_dist.parallel.comm import Comm, column_splits
from bifair_dist.parallel.exchange import AllToAll, ToColumns, ToRows


class Sharded:
    """Row shards and column shards over the ranks of `comm`."""

    def __init__(self, comm: Comm) -> None:
        self.comm = comm

    def to_columns(self, rows: Tensor, n: int, tag: str) -> Tensor:
        """Row shard [m, c] -> column shard [n, c_r]."""
        if self.comm.size == 1:
            return rows
        columns: Tensor = ToColumns.apply(rows, n, self.comm, tag)
        return columns

    def to_rows(self, columns: Tensor, width: int, tag: str) -> Tensor:
        """Column shard [n, c_r] -> row shard [m, width], padded with zeros."""
        if self.comm.size == 1:
            return columns
        rows: Tensor = ToRows.apply(columns, width, self.comm, tag)
        return rows

    def batch_rows(self, users: Tensor, items: Tensor, width: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Column shards of all nodes -> full rows of this worker's slice of the batch, in one all-to-all."""
        comm = self.comm
        shared = batch.negatives.dim() == 1
        per = 0 if shared else batch.negatives.shape[1]
        u = users.index_select(0, batch.users)
        v = items.index_select(0, torch.cat([batch.positives, batch.negatives.reshape(-1)]))
        plus, minus = v[: batch.size], v[batch.size :]

        def rows_of(start: int, stop: int) -> list[Tensor]:
            return [u[start:stop], plus[start:stop], minus if shared else minus[start * per : stop * per]]

        b = batch.stop - batch.start
        n_minus = minus.shape[0] if shared else b * per
        if comm.size == 1:
            got = torch.cat(rows_of(0, b))
        else:
            chunks = [torch.cat(rows_of(*s)).reshape(-1) for s in batch.slices]
            splits = column_splits(width, comm.size)
            counts = [(2 * b + n_minus) * c for c in splits]
            out = AllToAll.apply(torch.cat(chunks), [c.numel() for c in chunks], counts, comm, "batch")
            parts = out.split(counts)
            got = torch.cat([p.view(-1, c) for p, c in zip(parts, splits, strict=True)], dim=1)
        mine_u, mine_plus, mine_minus = got.split([b, b, n_minus])
        return mine_u, mine_plus, mine_minus if shared else mine_minus.view(b, per, width)
