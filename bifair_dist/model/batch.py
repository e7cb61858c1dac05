"""One training batch: positives, negatives, and which part of it this worker scores."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The whole batch, known to every worker, and this worker's slice [start, stop) of it.

    `users`, `positives` int64 [B]; `negatives` int64 [K] (shared) or [B, K]; `masked` bool [stop - start, K] for the
    slice, or None; `slices` the (start, stop) of every worker. With one worker the slice is the batch.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    masked: Tensor | None
    slices: tuple[tuple[int, int], ...]
    rank: int = 0

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
