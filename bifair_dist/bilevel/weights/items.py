"""Weights of items in the loss of a batch, for the rules that know items and no groups.

    L = (1 - s) (1 / B) sum_i l_i + s sum_i w_i l_i / sum_i w_i       over the positives i of the global batch, w_i > 0

The weights are normalised over the batch, so that the step's length does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bifair_dist.model.batch import Batch


@dataclass(frozen=True, slots=True)
class ItemBalance:
    """`weights` float64 [N] on the CPU, one for each item. `strength` s in [0, 1]; 0 is the plain mean."""

    weights: Tensor
    strength: float

    def coefficients(self, batch: Batch) -> Tensor:
        """a_i of this place's slice, float64 [b] on the CPU, so that L = sum_i a_i l_i over all places."""
        weights = self.weights[batch.positives.cpu()]
        shares = self.strength * weights / weights.sum() + (1.0 - self.strength) / batch.size
        return shares[batch.start : batch.stop]
