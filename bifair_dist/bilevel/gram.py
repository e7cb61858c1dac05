"""Gram matrix of the groups' gradients, K_ij = g_i . g_j with g_k = d_theta L_k (Sener & Koltun, NeurIPS 2018; BiFair).

One forward pass and one backward pass per group. The gradients are summed over the places where the data lie *before*
K is formed; a mean of the places' own Gram matrices is another matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bifair_dist.model.projector import Theta

GroupLosses = Callable[[Theta], Tensor]


def group_gram(
    group_losses: GroupLosses,
    theta: Theta,
    total: Callable[[Tensor], Tensor],
    *,
    with_gram: bool,
    across: GroupLosses | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(L [G], K [G, G]) in float64 at theta; K is None, and no backward pass is run, unless `with_gram`.

    `group_losses` returns this place's part of each L_k, [G]; `total` sums a tensor over the places. `across`: the same
    on another batch, whose gradients are then the rows of K, K_ij = g_i(across) . g_j.
    """
    theta = {name: t.detach().requires_grad_(with_gram) for name, t in theta.items()}
    losses = group_losses(theta)
    summed = total(losses.detach().double())
    if not with_gram:
        return summed, None
    gradients = _gradients(losses, theta, total)
    rows = gradients if across is None else _gradients(across(theta), theta, total)
    return summed, rows @ gradients.T


def _gradients(losses: Tensor, theta: Theta, total: Callable[[Tensor], Tensor]) -> Tensor:
    """d_theta of each loss, summed over the places, float64 [G, |theta|]."""
    rows = []
    for k in range(losses.numel()):
        gradient = torch.autograd.grad(losses[k], list(theta.values()), retain_graph=k + 1 < losses.numel())
        rows.append(torch.cat([g.reshape(-1) for g in gradient]))
    return total(torch.stack(rows)).double()
