"""A differentiable all-to-all: its derivative is the mirrored all-to-all, to any order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bifair_dist.parallel.comm import Comm


class AllToAll(torch.autograd.Function):
    """Flat all-to-all. Splits are element counts by rank; the backward swaps what was sent and what was received.

    The gradient that arrives at each rank belongs to the *sum* of all ranks' losses, so nothing is scaled by the world
    size (others did: torchrec#2251). torch.distributed.nn has a differentiable all-to-all as well, but not one that
    can be differentiated twice, which the exact hypergradient needs.
    """

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
