"""What the two hypergradients share: their inputs, their result and the norm of a parameter-shaped vector.

theta' = theta - xi d_theta L_in(theta, Z)                     one-step unroll (DARTS, arXiv 1806.09055, eq. 6)
v      = d_theta' L_out(theta', Z)
g_Z    = d_Z L_out(theta', Z) - xi (d^2 L_in / dZ dtheta)(theta, Z) v                             (DARTS, eq. 7)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.bilevel.adam_unroll import AdamStep
from bifair_dist.labels import labelled
from bifair_dist.model.projector import Theta

Loss = Callable[[Theta, Tensor], Tensor]
"""(theta, Z) -> the loss, or with the data in several places this place's part of it."""

Total = Callable[[Theta], Theta]
"""Sums a theta-shaped gradient over the places where the data lie; the identity in one place."""


@dataclass(frozen=True, slots=True)
class Hypergradient:
    """g_Z [m, d] with what it was made of: v (theta-shaped, summed), its norm, the step e, this place's outer loss."""

    g_z: Tensor
    v: Theta
    v_norm: float
    e: float
    outer_loss: Tensor


def norm(theta: Theta) -> float:
    """Euclidean norm over all parameters, accumulated in float64."""
    squares = [t.double().pow(2).sum() for t in theta.values()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def step(theta: Theta, direction: Theta, scale: float) -> Theta:
    """theta + scale * direction as new tensors.

    Never in place: adding and then subtracting one float32 vector gives only about half of the weights back exactly.
    """
    return {name: (t.detach() + scale * direction[name]) for name, t in theta.items()}


def ahead_of(theta: Theta, gradient: Theta, xi: float, adam: AdamStep | None) -> Theta:
    """theta': after a step of gradient descent of length `xi`, or after Adam's; theta itself at xi = 0."""
    return step(theta, gradient, -xi) if adam is None or xi == 0 else adam.ahead


def through(v: Theta, xi: float, adam: AdamStep | None) -> tuple[Theta, float]:
    """(u, x) such that the second-order term is x (d^2 L_in / dZ dtheta) u: v and xi, or D * v and 1 of Adam's step."""
    if adam is None or xi == 0:
        return v, xi
    return {name: adam.slope[name] * t for name, t in v.items()}, 1.0


@labelled("outer gradients")
def outer_gradients(outer: Loss, theta: Theta, z: Tensor, total: Total) -> tuple[Tensor, Theta, Tensor]:
    """(d_Z L_out, summed d_theta L_out, this place's L_out) at (theta, Z), in one backward pass."""
    theta = {name: t.detach().requires_grad_() for name, t in theta.items()}
    z = z.detach().requires_grad_()
    loss = outer(theta, z)
    g_z, *g_theta = torch.autograd.grad(loss, [z, *theta.values()])
    return g_z, total(dict(zip(theta, g_theta, strict=True))), loss.detach()
