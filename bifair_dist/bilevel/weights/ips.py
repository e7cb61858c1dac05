"""Inverse propensity scores: every positive is weighted by one over its item's chance to be seen.

    L_IPS = sum_i l_i / p_i  /  sum_i 1 / p_i            over the positives i of the global batch
    p_i   = (n_i / max_j n_j) ^ power                    n_i: training positives of the item

Sources: Schnabel et al., ICML 2016 (arXiv 1602.05352), the propensity-weighted loss and its self-normalised form, whose
step length does not depend on the batch's propensities; Saito et al., WSDM 2020 (arXiv 1909.03601), for popularity
as the propensity of implicit feedback, with power 1/2. It knows items and no groups, so `registry.py` does not list it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bifair_dist.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Ips:
    """`inverse` float64 [N]: 1 / p of each item. `strength` in [0, 1] mixes with the plain mean, as for the rules."""

    inverse: Tensor
    strength: float

    @classmethod
    def of(cls, counts: Tensor, *, power: float, strength: float) -> Ips:
        """From training positives of each item, int [N]; an item without any counts as one with a single positive."""
        counts = counts.double().clamp_min(1.0)
        return cls((counts / counts.max()) ** -power, strength)

    def coefficients(self, batch: Batch) -> Tensor:
        """a_i of this place's slice, float64 [b] on the CPU, so that L = sum_i a_i l_i over all places."""
        weights = self.inverse[batch.positives.cpu()]
        shares = self.strength * weights / weights.sum() + (1.0 - self.strength) / batch.size
        return shares[batch.start : batch.stop]
