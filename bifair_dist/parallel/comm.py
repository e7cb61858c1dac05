"""The collectives of this project behind one small object, with every byte counted.

`Comm()` without a process group is the single-process case: each call is the identity, so the same code runs on one
worker without torch.distributed. The differentiable exchanges are in `exchange.py`; here nothing knows about autograd.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bifair_dist.labels import labelled


def shard_rows(n: int, size: int) -> int:
    """Rows per shard, padding included: ceil(n / size)."""
    return -(-n // size)


def row_range(n: int, size: int, rank: int) -> tuple[int, int]:
    """Half-open range of the global rows that `rank` owns; empty for the last ranks when n is small."""
    m = shard_rows(n, size)
    return min(rank * m, n), min((rank + 1) * m, n)


def column_splits(width: int, size: int) -> list[int]:
    """Columns per rank, as even as possible and in rank order (the first `width % size` ranks hold one more)."""
    base, extra = divmod(width, size)
    return [base + (r < extra) for r in range(size)]


class Comm:
    """A process group and the bytes this rank sent through it.

    `sent[tag]` counts the bytes that left this rank for other ranks under that tag, `calls[tag]` the collectives.
    An all-reduce counts 2 (W - 1) / W of its payload, what a ring sends. `docs/bytes.md` has the formulas.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank = dist.get_rank(group) if group is not None else 0
        self.size = dist.get_world_size(group) if group is not None else 1
        self.sent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    @labelled("exchange")
    def all_reduce_sum(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum over ranks as a new tensor, the same on every rank. Not differentiable."""
        out = tensor.detach().clone(memory_format=torch.contiguous_format)
        if self.size > 1:
            self.count_all_reduce(tag, out.numel() * out.element_size())
            dist.all_reduce(out, group=self.group)
        return out

    def all_gather(self, tensor: Tensor, tag: str) -> list[Tensor]:
        """Every rank's tensor, in rank order. All ranks pass equal shapes. Not differentiable."""
        if self.size == 1:
            return [tensor]
        tensor = tensor.detach().contiguous()
        self._count(tag, tensor.numel() * tensor.element_size() * (self.size - 1))
        out = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(out, tensor, group=self.group)
        return out

    def gather_objects(self, value: Any) -> list[Any]:
        """Every rank's small Python value, in rank order; for control, not for data, and not counted."""
        out: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(out, value, group=self.group)
        return out

    def exchange(self, chunks: Sequence[Tensor], recv_shapes: Sequence[tuple[int, ...]], tag: str) -> list[Tensor]:
        """All-to-all: `chunks[s]` goes to rank s; returns what each rank sent here, `recv_shapes[s]` from rank s.

        Sizes may differ by rank and may be zero. Not differentiable.
        """
        if self.size == 1:
            return [chunks[0]]
        send = torch.cat([c.reshape(-1) for c in chunks])
        recv_splits = [math.prod(s) for s in recv_shapes]
        out = self.all_to_all(send, [c.numel() for c in chunks], recv_splits, tag)
        return [p.view(s) for p, s in zip(out.split(recv_splits), recv_shapes, strict=True)]

    @labelled("exchange")
    def all_to_all(self, send: Tensor, send_splits: list[int], recv_splits: list[int], tag: str) -> Tensor:
        """`exchange` on one flat buffer: its first `send_splits[0]` elements go to rank 0, and so on."""
        out = send.new_empty(sum(recv_splits))
        self._count(tag, (send.numel() - send_splits[self.rank]) * send.element_size())
        dist.all_to_all_single(out, send.contiguous(), recv_splits, send_splits, group=self.group)
        return out

    def count_all_reduce(self, tag: str, n_bytes: int) -> None:
        """Write down an all-reduce of `n_bytes`; for DDP, which runs its own."""
        self._count(tag, 2 * (self.size - 1) * n_bytes // self.size)

    def _count(self, tag: str, n_bytes: int) -> None:
        self.sent[tag] += n_bytes
        self.calls[tag] += 1
