"""The hypergradient by a first-order penalty (F2SA, Kwon et al., ICML 2023, arXiv 2301.10945; Shen & Chen, 2302.05185).

    min over theta, Z of    L_out(theta, Z) + lambda [ L_in(theta, Z) - min over theta~ of L_in(theta~, Z) ]

    theta~ <- Adam(theta_lr, d_theta L_in(theta~, Z))
    theta  <- Adam(theta_lr, d_theta L_out(theta, Z) + lambda d_theta L_in(theta, Z))
    g_Z     = d_Z L_out(theta, Z) + lambda [ d_Z L_in(theta, Z) - d_Z L_in(theta~, Z) ]

theta~ follows the inner level alone, theta is held near it by lambda. Where both have converged g_Z is the
hypergradient through the inner *optimum*, with an error of O(1 / lambda), and not through one step as the unroll has
it. Three passes in place of four, no xi, no eps, no second derivative; a second projector with its Adam moments. All
gradients of a step are taken at the same (theta, theta~, Z).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bifair_dist.bilevel.hypergradient import Loss, Total, outer_gradients
from bifair_dist.model.projector import Theta


@dataclass(frozen=True, slots=True)
class PenaltyGradients:
    """g_Z [m, d] (this place's part where data lie in several), summed g_theta and v = d_theta L_out, and parts of the
    losses at theta."""

    g_z: Tensor
    g_theta: Theta
    v: Theta
    inner_loss: Tensor
    outer_loss: Tensor


class Penalty:
    """theta~ with what moves it. `theta`: parameters by name; `weight`: lambda > 0."""

    def __init__(self, start: Theta, weight: float, optimizer: type[torch.optim.Optimizer], lr: float) -> None:
        self.weight = weight
        self.theta: Theta = {name: nn.Parameter(t.detach().clone()) for name, t in start.items()}
        self.optimizer = optimizer(list(self.theta.values()), lr=lr)  # type: ignore[call-arg]

    def __call__(self, inner: Loss, outer: Loss, theta: Theta, z: Tensor, total: Total) -> PenaltyGradients:
        """The gradients at (theta, theta~, Z); then theta~ takes its step. `z` [m, d], arguments as in `exact`."""
        z_follower, follower, _ = outer_gradients(inner, self.theta, z, total)
        z_inner, g_inner, inner_loss = outer_gradients(inner, theta, z, total)
        g_z, v, outer_loss = outer_gradients(outer, theta, z, total)
        g_z.add_(z_inner.sub_(z_follower), alpha=self.weight)
        g_theta = {name: v[name] + self.weight * g for name, g in g_inner.items()}
        for name, parameter in self.theta.items():
            parameter.grad = follower[name]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return PenaltyGradients(g_z, g_theta, v, inner_loss, outer_loss)
