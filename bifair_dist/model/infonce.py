"""InfoNCE over sampled negatives (van den Oord et al., arXiv 1807.03748; as AlphaRec uses it).

l_b = -log( e^(s_b+/tau) / (e^(s_b+/tau) + sum_j e^(s_bj/tau)) ),    s = cosine of the user and item outputs
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(users: Tensor, positives: Tensor, negatives: Tensor, masked: Tensor | None, tau: float) -> Tensor:
    """Loss of each example, [B].

    `users`, `positives` [B, k]; `negatives` [K, k], shared by the batch, or [B, K, k], one set an example. `masked`
    (bool [B, K]) takes out the negatives that the user is known to like. Rows need not be normalised.
    """
    u = F.normalize(users, dim=-1)
    plus = (u * F.normalize(positives, dim=-1)).sum(-1, keepdim=True) / tau
    v = F.normalize(negatives, dim=-1)
    minus = (u @ v.T if v.dim() == 2 else torch.einsum("bk,bjk->bj", u, v)) / tau
    if masked is not None:
        minus = minus.masked_fill(masked, float("-inf"))
    return torch.logsumexp(torch.cat([plus, minus], dim=1), dim=1) - plus.squeeze(1)
