"""Gram matrix of the groups' gradients, K_ij = g_i . g_j with g_k = d_theta L_k (Sener & Koltun, NeurIPS 2018; BiFair).

One forward pass and one backward pass per group. The gradients are summed over the places where the data lie *before*
K is formed; a mean of the places' own Gram matrices is another matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bifair_dist.model.projector import Theta


def group_gram(
    group_losses: Callable[[Theta], Tensor], theta: Theta, total: Callable[[Tensor], Tensor], *, with_gram: bool
) -> tuple[Tensor, Tensor | None]:
    """(L [G], K [G, G]) in float64 at theta; K is None, and no backward pass is run, unless `with_gram`.

    `group_losses` returns this place's part of each L_k, [G]; `total` sums a tensor over the places.
    """
    theta = {name: t.detach().requires_grad_(with_gram) for name, t in theta.items()}
    losses = group_losses(theta)
    summed = total(losses.detach().double())
    if not with_gram:
        return summed, None
    rows = []
    for k in range(losses.numel()):
        gradient = torch.autograd.grad(losses[k], list(theta.values()), retain_graph=k + 1 < losses.numel())
        rows.append(torch.cat([g.reshape(-1) for g in gradient]))
    gradients = total(torch.stack(rows)).double()
    return summed, gradients @ gradients.T
