"""How unequal groups or items are served.

CV and MIN are the measures of ITFR (WWW 2024) over group utilities; Gini and coverage describe the exposure of items;
MMF is the max-min fairness of P-MMF (WWW 2023): the exposure of the worst-off group in proportion to its size. All
take [..., G] and reduce the last axis. A group without a utility is nan and counts for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def coefficient_of_variation(utility: Tensor) -> Tensor:
    """Population standard deviation over mean; nan where no group has a utility or the mean is 0."""
    mean = utility.nanmean(-1)
    deviation = (utility - mean[..., None]).square().nanmean(-1).sqrt()
    return torch.where(mean > 0, deviation / mean, torch.nan)


def lowest_quarter(utility: Tensor) -> Tensor:
    """MIN: mean of the lowest max(1, G // 4) utilities, G being the groups that have one; nan if none has."""
    counted = (~utility.isnan()).sum(-1, keepdim=True)
    taken = torch.clamp(counted // 4, min=1)
    ascending = utility.nan_to_num(nan=torch.inf).sort(-1).values
    mean = ascending.cumsum(-1).gather(-1, taken - 1) / taken
    return torch.where(counted > 0, mean, torch.nan)[..., 0]


def gini(exposure: Tensor) -> float:
    """Gini coefficient of counts [N]: 0 all items alike, 1 - 1/N one item takes all, nan without any exposure."""
    x = exposure.to(torch.float64).sort().values
    n = len(x)
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
    total = x.sum()
    return float(((2 * rank - n - 1) * x).sum() / (n * total)) if total > 0 else float("nan")


def max_min_fairness(exposure_share: Tensor, size_share: Tensor) -> float:
    """Least exposure share over size share, among groups that have members: 1 is exposure in proportion to size."""
    inhabited = size_share > 0
    return float((exposure_share[inhabited] / size_share[inhabited]).min()) if inhabited.any() else float("nan")
