"""The unrolled Adam step: against torch's own Adam, and against autograd through it."""

from __future__ import annotations

import pytest
import torch
from small_problems import gradient, itself, relative, small_step, smooth_losses
from torch import Tensor

from bifair_dist.bilevel.adam_unroll import adam_step
from bifair_dist.bilevel.exact import exact
from bifair_dist.bilevel.finite_difference import finite_difference
from bifair_dist.bilevel.hypergradient import Loss
from bifair_dist.model.projector import Theta

RATE = 0.05


def trained(inner: Loss, theta: Theta, z: Tensor, steps: int) -> tuple[Theta, torch.optim.Adam]:
    """theta after some steps of Adam, as leaves, and the optimiser with its moments."""
    leaves = {n: t.clone().requires_grad_() for n, t in theta.items()}
    adam = torch.optim.Adam(list(leaves.values()), RATE)
    for _ in range(steps):
        for n, g in gradient(inner, leaves, z).items():
            leaves[n].grad = g
        adam.step()
    return leaves, adam


def through_adam(inner: Loss, outer: Loss, theta: Theta, z: Tensor, adam: torch.optim.Adam) -> Tensor:
    """d_Z L_out(theta', Z) by autograd, with theta' written out from Adam's definition."""
    z = z.detach().requires_grad_()
    g = torch.autograd.grad(inner(theta, z), list(theta.values()), create_graph=True)
    ahead = {}
    for (n, t), slope in zip(theta.items(), g, strict=True):
        slots = adam.state[t]
        count = float(slots["step"]) + 1 if slots else 1.0
        m, s = (slots[k] if slots else torch.zeros_like(t) for k in ("exp_avg", "exp_avg_sq"))
        m, s = 0.9 * m + 0.1 * slope, 0.999 * s + 0.001 * slope**2
        ahead[n] = t - RATE * (m / (1 - 0.9**count)) / ((s / (1 - 0.999**count)).sqrt() + 1e-8)
    return torch.autograd.grad(outer(ahead, z), z)[0]


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_ahead_is_where_adam_goes(steps: int) -> None:
    inner, _, theta, z = smooth_losses(0)
    leaves, adam = trained(inner, theta, z, steps)
    g = gradient(inner, leaves, z)
    found = adam_step(adam, leaves, g)
    for n in leaves:
        leaves[n].grad = g[n]
    adam.step()
    assert all(relative(found.ahead[n], leaves[n]) < 1e-13 for n in leaves)


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_is_autograd_through_the_unrolled_adam_step(seed: int, steps: int) -> None:
    inner, outer, theta, z = smooth_losses(seed)
    leaves, adam = trained(inner, theta, z, steps)
    g = gradient(inner, leaves, z)
    ahead = adam_step(adam, leaves, g)
    expected = through_adam(inner, outer, leaves, z, adam)
    found = exact(inner, outer, leaves, g, z, xi=1.0, total=itself, adam=ahead)
    assert relative(found.g_z, expected) < 1e-11
    plain = exact(inner, outer, leaves, g, z, xi=RATE, total=itself)
    assert relative(plain.g_z, expected) > 1e-3  # gradient descent's is another one
    near = finite_difference(inner, outer, leaves, g, z, xi=1.0, eps=1e-4, total=itself, adam=ahead)
    assert relative(near.g_z, expected) < 1e-7


def test_first_order_has_no_look_ahead() -> None:
    inner, outer, theta, z = smooth_losses(0)
    leaves, adam = trained(inner, theta, z, 3)
    g = gradient(inner, leaves, z)
    found = exact(inner, outer, leaves, g, z, xi=0.0, total=itself, adam=adam_step(adam, leaves, g))
    assert torch.equal(found.g_z, exact(inner, outer, leaves, g, z, xi=0.0, total=itself).g_z)


def test_a_weight_without_gradient_moves_nothing() -> None:
    leaf = torch.ones(2, dtype=torch.float64, requires_grad=True)
    found = adam_step(torch.optim.Adam([leaf], RATE), {"w": leaf}, {"w": torch.tensor([0.0, 2.0]).double()})
    assert found.slope["w"][0] == 0.0 and torch.equal(found.ahead["w"][0], leaf[0].detach())


def test_the_step_uses_it() -> None:
    step, sampler = small_step(optimizer="adam", method="exact", theta_lr=RATE, unroll="adam", xi=1.0)
    for count in range(3):
        batch, other = sampler.batch(0, count), sampler.batch(0, count + 1)
        inner, outer = (step.loss(step.model, b, step.coefficients(b)) for b in (batch, other))
        assert isinstance(step.theta_optimizer, torch.optim.Adam)
        expected = through_adam(inner, outer, step.theta, step.z, step.theta_optimizer) if count else None
        record = step(count, batch, lambda other=other: other)
        assert record.g_z is not None and (expected is None or relative(record.g_z, expected) < 1e-10)
