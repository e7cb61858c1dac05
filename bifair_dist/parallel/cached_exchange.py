"""The differentiable exchanges of a cached step; the derivative of each is its transpose, to any order.

    TotalSum     sum over the workers                              <-> itself
    ToAll        every worker's rows on all workers, [a, k]        <-> ToOwner: their gradients, summed at the owner
    FromHistory  mean over the drawn items of a user, [a, d]       <-> ToHistory: the gradient's share for each item

`FromHistory` sends nothing forward: its value is taken to be zero, since the cached inputs stand for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bifair_dist.parallel.comm import Comm


class TotalSum(torch.autograd.Function):
    """Sum over the workers of a tensor that all of them go on with."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, comm: Comm, tag: str) -> Tensor:
        """Any shape."""
        ctx.args = (comm, tag)
        return comm.all_reduce_sum(tensor, tag)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Every worker's loss depends on the sum, so its gradient is the sum of theirs."""
        return TotalSum.apply(grads[0], *ctx.args), None, None


class ToAll(torch.autograd.Function):
    """Rows held here [a, k], `counts[r]` of them on worker r -> those of all workers, in rank order."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], comm: Comm) -> Tensor:
        """Sends this worker's rows to each of the others."""
        ctx.args = (counts, comm)
        width = rows.shape[1]
        return torch.cat(comm.exchange([rows] * comm.size, [(n, width) for n in counts], "rows"))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """`ToOwner` of the gradient."""
        return ToOwner.apply(grads[0], *ctx.args), None, None


class ToOwner(torch.autograd.Function):
    """Rows of all workers, as `ToAll` gives them -> the sum over workers of those held here; its transpose."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], comm: Comm) -> Tensor:
        """Sends each worker its rows; sums in rank order."""
        ctx.args = (counts, comm)
        mine = (counts[comm.rank], rows.shape[1])
        parts = comm.exchange(rows.split(counts), [mine] * comm.size, "rows")
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """`ToAll` of the gradient."""
        return ToAll.apply(grads[0], *ctx.args), None, None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn of the histories, from both ends.

    `users`: int64, for each worker in turn, whose user (row among this worker's `n_users`) a drawn item of that worker
    belongs to, `n_from[s]` of them. `rows`: the other end, for each worker in turn the rows (of `n_rows` of Z) that its
    users drew here, `n_to[r]` of them. A user's mean is over `per` draws.
    """

    users: Tensor
    n_from: list[int]
    rows: Tensor
    n_to: list[int]
    n_users: int
    n_rows: int
    per: int

    @classmethod
    def of(
        cls, users: list[Tensor], rows: list[Tensor], n_users: int, n_rows: int, per: int, device: torch.device
    ) -> Drawn:
        """From the lists by worker."""
        n_from, n_to = [len(t) for t in users], [len(t) for t in rows]
        return cls(torch.cat(users).to(device), n_from, torch.cat(rows).to(device), n_to, n_users, n_rows, per)


class FromHistory(torch.autograd.Function):
    """Rows of Z [t, d] -> [a, d], zero in value; differentiated as the mean of the rows drawn for each user."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, drawn: Drawn, comm: Comm) -> Tensor:
        """Nothing is sent."""
        ctx.args = (drawn, comm)
        return z.new_zeros(drawn.n_users, z.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """`ToHistory` of the gradient."""
        return ToHistory.apply(grads[0], *ctx.args), None, None


class ToHistory(torch.autograd.Function):
    """A row for each user [a, d] -> for each row of Z the sum over the users that drew it, by 1 / per: [t, d]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, drawn: Drawn, comm: Comm) -> Tensor:
        """Sends each worker the rows of the users that drew its items."""
        ctx.args = (drawn, comm)
        chunks = rows.index_select(0, drawn.users).div_(max(drawn.per, 1)).split(drawn.n_from)
        got = comm.exchange(chunks, [(n, rows.shape[1]) for n in drawn.n_to], "history")
        return rows.new_zeros(drawn.n_rows, rows.shape[1]).index_add_(0, drawn.rows, torch.cat(got))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The mean itself: where the gradient is differentiated again, its value counts."""
        return _MeanOfHistory.apply(grads[0], *ctx.args), None, None


class _MeanOfHistory(torch.autograd.Function):
    """Rows of Z [t, d] -> their means by user [a, d], sent by the items' owners; the transpose of `ToHistory`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, drawn: Drawn, comm: Comm) -> Tensor:
        ctx.args = (drawn, comm)
        chunks = z.index_select(0, drawn.rows).split(drawn.n_to)
        got = comm.exchange(chunks, [(n, z.shape[1]) for n in drawn.n_from], "history")
        means = z.new_zeros(drawn.n_users, z.shape[1]).index_add_(0, drawn.users, torch.cat(got))
        return means.div_(max(drawn.per, 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ToHistory.apply(grads[0], *ctx.args), None, None
