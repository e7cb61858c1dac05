"""The hypergradient with its second-order term exact: <d_theta L_in(theta, Z), v> differentiated by Z.

The same g_Z as in `finite_difference.py` without eps: one double backward pass, more memory, the check of the other.
With the data in several places each place differentiates its own part of the inner product; the parts add up because
v is the same everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.bilevel.adam_unroll import AdamStep
from bifair_dist.bilevel.hypergradient import Hypergradient, Loss, Total, ahead_of, norm, outer_gradients, through
from bifair_dist.labels import labelled
from bifair_dist.model.projector import Theta


def exact(
    inner: Loss,
    outer: Loss,
    theta: Theta,
    inner_gradient: Theta,
    z: Tensor,
    *,
    xi: float,
    total: Total,
    adam: AdamStep | None = None,
) -> Hypergradient:
    """g_Z at (theta, Z); arguments as in `finite_difference`."""
    g_z, v, loss = outer_gradients(outer, ahead_of(theta, inner_gradient, xi, adam), z, total)
    u, xi = through(v, xi, adam)
    if xi > 0:
        g_z.add_(mixed_product(inner, theta, u, z), alpha=-xi)
    return Hypergradient(g_z, v, norm(v), 0.0, loss)


@labelled("perturbed passes")
def mixed_product(inner: Loss, theta: Theta, v: Theta, z: Tensor) -> Tensor:
    """(d^2 L_in / dZ dtheta)(theta, Z) v, the rows held here: [m, d]."""
    theta = {name: t.detach().requires_grad_() for name, t in theta.items()}
    z = z.detach().requires_grad_()
    gradient = torch.autograd.grad(inner(theta, z), list(theta.values()), create_graph=True)
    product = torch.stack([(g * v[name]).sum() for g, name in zip(gradient, theta, strict=True)]).sum()
    return torch.autograd.grad(product, z)[0]
