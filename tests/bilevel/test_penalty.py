"""The penalty form of the hypergradient: against autograd, a dense solution, and the step written out by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_problems import gradient, itself, norm, relative, small_step, smooth_losses
from torch import Tensor

from bifair_dist.bilevel.penalty import Penalty, PenaltyGradients
from bifair_dist.model.projector import Theta

LAMBDA = 3.0


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_are_autograd_of_the_penalised_loss(seed: int) -> None:
    inner, outer, theta, z = smooth_losses(seed)
    follower = {n: t + 0.1 * torch.randn_like(t) for n, t in theta.items()}
    t, y = ({n: p.clone().requires_grad_() for n, p in some.items()} for some in (theta, follower))
    leaf = z.clone().requires_grad_()
    penalised = outer(t, leaf) + LAMBDA * (inner(t, leaf) - inner(y, leaf))
    g_z, *g_theta = torch.autograd.grad(penalised, [leaf, *t.values()])

    penalty = Penalty(follower, LAMBDA, torch.optim.SGD, 0.2)
    found = penalty(inner, outer, theta, z, itself)
    assert relative(found.g_z, g_z) < 1e-13
    assert all(relative(found.g_theta[n], g) < 1e-13 for n, g in zip(t, g_theta, strict=True))
    assert all(relative(found.v[n], gradient(outer, theta, z)[n]) < 1e-13 for n in theta)
    down = gradient(inner, follower, z)
    assert all(relative(penalty.theta[n], follower[n] - 0.2 * down[n]) < 1e-13 for n in theta)
    assert float(found.inner_loss) == float(inner(theta, z)) and float(found.outer_loss) == float(outer(theta, z))


def test_at_convergence_it_is_the_hypergradient_through_the_inner_optimum() -> None:
    """Quadratic levels, solved densely: the distance to d_Z L_out - B' H^-1 v falls as 1 / lambda."""
    rng = torch.Generator().manual_seed(0)
    m, n = 4, 3
    root, mixed = (torch.randn(m, k, generator=rng, dtype=torch.float64) for k in (m, n))
    hessian, outer_root = root @ root.T + torch.eye(m, dtype=torch.float64), torch.randn(m, m, generator=rng).double()
    target, z = torch.randn(m, generator=rng).double(), torch.randn(1, n, generator=rng).double()
    outer_hessian = outer_root @ outer_root.T

    def inner(t: Theta, z: Tensor) -> Tensor:
        return 0.5 * t["y"] @ hessian @ t["y"] - t["y"] @ mixed @ z[0]

    def outer(t: Theta, z: Tensor) -> Tensor:
        gap = t["y"] - target
        return 0.5 * gap @ outer_hessian @ gap + (z**3).sum()

    best = torch.linalg.solve(hessian, mixed @ z[0])
    v = outer_hessian @ (best - target)
    implicit = 3 * z**2 + (mixed.T @ torch.linalg.solve(hessian, v))[None]  # d y* / d Z = H^-1 B
    errors = []
    for weight in (100.0, 200.0, 400.0):
        held = torch.linalg.solve(outer_hessian + weight * hessian, outer_hessian @ target + weight * mixed @ z[0])
        found = Penalty({"y": best}, weight, torch.optim.SGD, 0.1)(inner, outer, {"y": held}, z, itself)
        assert norm(found.g_theta) < 1e-9  # theta stands where its own loss is least
        errors.append(relative(found.g_z, implicit))
    assert errors[0] < 0.2 and all(1.8 < a / b < 2.2 for a, b in itertools.pairwise(errors)), errors


def test_a_step_moves_theta_z_and_the_follower_from_one_point() -> None:
    step, sampler = small_step(method="penalty", theta_lr=0.3, eta=0.7)
    step.penalty = Penalty(step.theta, LAMBDA, torch.optim.SGD, 0.3)
    for count in range(2):  # in the second one theta and its follower differ
        batch, other = sampler.batch(0, count), sampler.batch(0, count + 1)
        inner = step.loss(step.model, batch, step.coefficients(batch))
        outer = step.loss(step.model, other, step.coefficients(other))
        theta, follower = (
            {n: t.detach().clone() for n, t in some.items()} for some in (step.theta, step.penalty.theta)
        )
        z = step.z.detach().clone()
        leaf = z.clone().requires_grad_()
        expected = torch.autograd.grad(outer(theta, leaf) + LAMBDA * (inner(theta, leaf) - inner(follower, leaf)), leaf)
        record = step(count, batch, lambda other=other: other)
        assert relative(step.z, z - 0.7 * expected[0]) < 1e-12
        for n in theta:
            moved = gradient(outer, theta, z)[n] + LAMBDA * gradient(inner, theta, z)[n]
            assert relative(step.theta[n], theta[n] - 0.3 * moved) < 1e-12
            assert relative(step.penalty.theta[n], follower[n] - 0.3 * gradient(inner, follower, z)[n]) < 1e-12
        assert record.v_norm == pytest.approx(norm(gradient(outer, theta, z)), rel=1e-12)
        assert float(record.loss) == pytest.approx(float(inner(theta, z)))
        assert all(t.grad is None for t in step.theta.values()) and step.z.grad is None


def test_parts_of_two_places_add_up() -> None:
    inner, outer, theta, z = smooth_losses(2)
    follower = {n: t + 0.1 for n, t in theta.items()}
    whole = Penalty(follower, LAMBDA, torch.optim.SGD, 0.1)(inner, outer, theta, z, itself)

    def part(share: float) -> PenaltyGradients:
        def over_share(g: Theta) -> Theta:
            return {n: t / share for n, t in g.items()}

        penalty = Penalty(follower, LAMBDA, torch.optim.SGD, 0.1)
        return penalty(lambda t, z: share * inner(t, z), lambda t, z: share * outer(t, z), theta, z, over_share)

    parts = [part(0.25), part(0.75)]
    assert relative(parts[0].g_z + parts[1].g_z, whole.g_z) < 1e-12
    assert all(relative(p.g_theta[n], whole.g_theta[n]) < 1e-12 for p in parts for n in theta)
