"""Bayesian personalised ranking over sampled negatives (Rendle et al., UAI 2009, BPR-OPT).

l_b = -1 / n_b sum_j log sigma(s_b+ - s_bj),    s = inner product of the user and item outputs

n_b counts the negatives j that are not masked; as published there is one for each positive.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr(users: Tensor, positives: Tensor, negatives: Tensor, masked: Tensor | None) -> Tensor:
    """Loss of each example, [B]; 0 where all its negatives are masked. Arguments as in `info_nce`."""
    plus = (users * positives).sum(-1, keepdim=True)
    minus = users @ negatives.T if negatives.dim() == 2 else torch.einsum("bk,bjk->bj", users, negatives)
    losses = F.softplus(minus - plus)
    if masked is None:
        return losses.mean(1)
    return losses.masked_fill(masked, 0.0).sum(1) / (~masked).sum(1).clamp(min=1)
