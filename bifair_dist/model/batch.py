"""One training batch: positives, negatives, and which part of it this worker scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The whole batch, known to every worker, and this worker's slice [start, stop) of it.

    `users`, `positives` int64 [B]; `negatives` int64 [K] (shared) or [B, K]; `masked` bool [stop - start, K] for the
    slice, or None; `slices` the (start, stop) of every worker. With one worker the slice is the batch. `key` (64 bits)
    is the batch's own: what else is drawn for it is drawn from that.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    masked: Tensor | None
    slices: tuple[tuple[int, int], ...]
    rank: int = 0
    key: int = 0

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""
        masked = None if self.masked is None else self.masked.to(device)
        users, positives, negatives = (t.to(device) for t in (self.users, self.positives, self.negatives))
        return Batch(users, positives, negatives, masked, self.slices, self.rank, self.key)

    @property
    def size(self) -> int:
        """B, over all workers."""
        return self.users.numel()

    @property
    def start(self) -> int:
        """First example of this worker's slice."""
        return self.slices[self.rank][0]

    @property
    def stop(self) -> int:
        """One past the last example of this worker's slice."""
        return self.slices[self.rank][1]
