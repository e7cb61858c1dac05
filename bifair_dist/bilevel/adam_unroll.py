"""The unrolled step as Adam takes it (SAMA, arXiv 2310.05674, makes the hypergradient aware of Adam in this way).

    m' = b1 m + (1 - b1) g,     s' = b2 s + (1 - b2) g^2,     g = d_theta L_in(theta, Z)
    theta' = theta - lr (m' / c1) / (sqrt(s' / c2) + eps),    c1 = 1 - b1^t,  c2 = 1 - b2^t
    g_Z    = d_Z L_out(theta', Z) - (d^2 L_in / dZ dtheta)(theta, Z) (D * v),    v = d_theta' L_out

with D = - d theta' / d g, elementwise, which plain gradient descent has as xi. Adam's own step is some 35 times longer
than that of xi = lr; D is large where gradients have been small. SAMA leaves out what g does to s'; here D is whole, so
that g_Z is what automatic differentiation through the step would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bifair_dist.model.projector import Theta


@dataclass(frozen=True, slots=True)
class AdamStep:
    """theta' and D, both theta-shaped."""

    ahead: Theta
    slope: Theta


def adam_step(optimizer: torch.optim.Optimizer, theta: Theta, gradient: Theta) -> AdamStep:
    """Where the next step of `optimizer`, an Adam over `theta` without weight decay, leads; nothing is moved."""
    group = optimizer.param_groups[0]
    lr, (b1, b2), eps = group["lr"], group["betas"], group["eps"]
    ahead, slope = {}, {}
    for name, parameter in theta.items():
        g, slots = gradient[name].detach(), optimizer.state.get(parameter, {})
        zero = torch.zeros_like(g)
        m = b1 * slots.get("exp_avg", zero) + (1 - b1) * g
        s = b2 * slots.get("exp_avg_sq", zero) + (1 - b2) * g * g
        t = float(slots.get("step", 0)) + 1
        c1, c2 = 1 - b1**t, 1 - b2**t
        root = (s / c2).sqrt()
        below = root + eps
        ahead[name] = parameter.detach() - lr * (m / c1) / below
        by_scale = torch.where(root > 0, (m / c1) * (1 - b2) * g / c2 / root, zero) / below**2
        # Where no gradient ever came, 1 / eps would make a billion of whatever v is.
        slope[name] = torch.where(root > 0, lr * ((1 - b1) / c1 / below - by_scale), zero)
    return AdamStep(ahead, slope)
