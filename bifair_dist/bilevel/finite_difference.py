"""The hypergradient with its second-order term by a central difference (DARTS, arXiv 1806.09055, eq. 8; BiFair eq. 7).

    (d^2 L_in / dZ dtheta) v  ~  [ d_Z L_in(theta + e v, Z) - d_Z L_in(theta - e v, Z) ] / (2 e),     e = eps / ||v||

Cost: two more passes, O(|Z| + |theta|) memory instead of the O(|Z| |theta|) of the mixed derivative. The perturbation
is around theta, not theta', and the two passes have to run in full float32: TF32 and bf16 round more coarsely than e.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.bilevel.adam_unroll import AdamStep
from bifair_dist.bilevel.hypergradient import (
    Hypergradient,
    Loss,
    Total,
    ahead_of,
    norm,
    outer_gradients,
    step,
    through,
)
from bifair_dist.labels import labelled
from bifair_dist.model.projector import Theta


def finite_difference(
    inner: Loss,
    outer: Loss,
    theta: Theta,
    inner_gradient: Theta,
    z: Tensor,
    *,
    xi: float,
    eps: float,
    total: Total,
    adam: AdamStep | None = None,
) -> Hypergradient:
    """g_Z at (theta, Z). `inner_gradient` is the summed d_theta L_in(theta, Z); `z` [m, d] the item rows held here.

    With xi = 0 it is the first-order gradient and the two extra passes are left out. `adam`: the step that is unrolled
    in place of one of plain gradient descent; then D * v stands for xi v in the formula.
    """
    g_z, v, loss = outer_gradients(outer, ahead_of(theta, inner_gradient, xi, adam), z, total)
    u, xi = through(v, xi, adam)
    u_norm = norm(u)
    e = eps / u_norm if u_norm > 0 else 0.0
    if xi > 0 and e > 0:
        for sign in (1.0, -1.0):
            # Folded into g_Z one after the other, so that at most two buffers of Z's size are alive.
            g_z.add_(z_gradient(inner, step(theta, u, sign * e), z), alpha=-xi * sign / (2 * e))
    return Hypergradient(g_z, v, norm(v), e, loss)


def least_eps(theta: Theta) -> float:
    """The eps below which theta + e v rounds back to theta in nearly all of its entries.

    ||e v|| = eps against the ||theta|| whose rounding it has to get over: with v spread as theta is, an entry moves
    where eps / ||theta|| exceeds about half of the format's precision. Taken 16 times lower, since v is spread unevenly
    and a few large entries carry most of it (at a trained AlphaRec 3e-7 was still good to 6 %, docs/hypergradient.md).
    """
    dtype = next(iter(theta.values())).dtype
    return norm(theta) * torch.finfo(dtype).eps / 32


@labelled("perturbed passes")
def z_gradient(loss: Loss, theta: Theta, z: Tensor) -> Tensor:
    """d_Z loss(theta, Z), with autocast and TF32 off."""
    z = z.detach().requires_grad_()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(
            z.device.type, enabled=False
        ):  # around the backward pass too, which has products of its own
            return torch.autograd.grad(loss(theta, z), z)[0]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
