"""Differentiable all-to-alls: the derivative of each is the mirrored one, to any order.

The gradient that arrives at each rank belongs to the *sum* of all ranks' losses, so nothing is scaled by the world size
(others did: torchrec#2251). torch.distributed.nn has a differentiable all-to-all as well, but not one that can be
differentiated twice, which the exact hypergradient needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bifair_dist.parallel.comm import Comm, column_splits, shard_rows


class ToColumns(torch.autograd.Function):
    """Row shard [m, c] -> column shard [n, c_r], and `ToRows` the way back: each is the other's transpose.

    Written with autograd's own slices, pads and concatenations they copied each matrix twice more, there and back.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int, comm: Comm, tag: str) -> Tensor:
        """Packed by columns of the receivers: one copy; what comes back is already in the order of the rows."""
        m, width = rows.shape
        ctx.args = (width, comm, tag)
        splits = column_splits(width, comm.size)
        counts = [m * c for c in splits]
        send = rows.new_empty(m * width)
        for into, part, c in zip(send.split(counts), rows.split(splits, dim=1), splits, strict=True):
            into.view(m, c).copy_(part)
        mine = splits[comm.rank]
        return comm.all_to_all(send, counts, [m * mine] * comm.size, tag).view(comm.size * m, mine)[:n]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """`ToRows` of the gradient."""
        return ToRows.apply(grads[0], *ctx.args), None, None, None


class ToRows(torch.autograd.Function):
    """Column shard [n, c_r] -> row shard [m, width], padded with zeros; the transpose of `ToColumns`."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, width: int, comm: Comm, tag: str) -> Tensor:
        """Sent as it lies, rows of the receivers one after the other; one copy puts the columns side by side."""
        n, mine = columns.shape
        ctx.args = (n, comm, tag)
        m, splits = shard_rows(n, comm.size), column_splits(width, comm.size)
        missing = comm.size * m - n
        send = torch.cat([columns, columns.new_zeros(missing, mine)]) if missing else columns.contiguous()
        counts = [m * c for c in splits]
        received = comm.all_to_all(send.view(-1), [m * mine] * comm.size, counts, tag)
        rows = columns.new_empty(m, width)
        for into, part, c in zip(rows.split(splits, dim=1), received.split(counts), splits, strict=True):
            into.copy_(part.view(m, c))
        return rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """`ToColumns` of the gradient."""
        return ToColumns.apply(grads[0], *ctx.args), None, None, None


class AllToAll(torch.autograd.Function):
    """Flat all-to-all. Splits are element counts by rank; the backward swaps what was sent and what was received."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, send_splits: list[int], recv_splits: list[int], comm: Comm, tag: str) -> Tensor:
        """flat [sum(send_splits)] -> [sum(recv_splits)]."""
        ctx.splits, ctx.comm, ctx.tag = (send_splits, recv_splits), comm, tag
        return comm.all_to_all(flat, send_splits, recv_splits, tag)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The same exchange the other way round."""
        send_splits, recv_splits = ctx.splits
        return AllToAll.apply(grads[0], recv_splits, send_splits, ctx.comm, ctx.tag), None, None, None, None
