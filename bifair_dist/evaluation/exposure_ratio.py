"""How much an item group is shown for how much it was taken.

    ratio_g = (places of g in all lists / all places) / (training pairs with g / all training pairs)

1: shown as often as it was taken; below, the lists shrink the group further. Source: GU of Jiang et al., Item-side
Fairness of Large Language Model-based Recommendation System, WWW 2024 (GU = ratio - 1); bias disparity of Tsintzou,
Pitoura & Tsaparas 2019 is the same number.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exposure_ratio(exposure_share: Tensor, pair_share: Tensor) -> Tensor:
    """Ratios [G] of shares float64 [G]; nan for a group without a training pair, and where nothing was shown."""
    return torch.where(pair_share > 0, exposure_share / pair_share, torch.nan)
