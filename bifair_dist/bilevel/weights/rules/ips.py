"""Inverse propensity scores: every positive is weighted by one over its item's chance to be seen.

    L_IPS = sum_i l_i / p_i  /  sum_i 1 / p_i            over the positives i of the global batch
    p_i   = (n_i / max_j n_j) ^ power                    n_i: training positives of the item

Sources: Schnabel et al., ICML 2016 (arXiv 1602.05352), the propensity-weighted loss and its self-normalised form, whose
step length does not depend on the batch's propensities; Saito et al., WSDM 2020 (arXiv 1909.03601), for popularity
as the propensity of implicit feedback, with power 1/2.
It knows items and no groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import WeightRule
from bifair_dist.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


class Ips(WeightRule):
    """Weigh every positive by one over its item's propensity."""

    name: ClassVar[str] = "ips"
    source: ClassVar[str] = "Schnabel et al., ICML 2016 (arXiv 1602.05352); Saito et al., WSDM 2020 (arXiv 1909.03601)"
    weighs_items: ClassVar[bool] = True
    ips_power: float = setting(
        0.5,
        "ips: an item's propensity is its share of the most popular item's positives, to this power",
        unit="power",
        why="Saito et al.'s (WSDM 2020)",
        ge=0,
    )

    def item_weights(self, counts: Tensor) -> Tensor:
        """1 / p of each item, float64 [N]; an item without positives counts as one with a single one."""
        counts = counts.double().clamp_min(1.0)
        return (counts / counts.max()) ** -self.ips_power
