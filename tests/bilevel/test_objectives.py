"""Objectives of single levels: their weights against autograd, and what a step minimises on each level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_problems import relative, small_step, unrolled
from torch import Tensor

from bifair_dist.bilevel.weights.objectives import objective_weights
from bifair_dist.model.projector import Theta

LOSSES = torch.tensor([3.0, 1.0, 2.5, 1.7], dtype=torch.float64)


def test_worst_is_the_gradient_of_the_smooth_maximum() -> None:
    losses = LOSSES.clone().requires_grad_()
    spread = LOSSES.std(correction=0)
    (spread * torch.logsumexp(losses / spread, 0)).backward()
    assert losses.grad is not None
    torch.testing.assert_close(objective_weights("worst", LOSSES, LOSSES), losses.grad, rtol=1e-13, atol=0)


def test_cv_is_the_gradient_of_the_cv_times_the_mean() -> None:
    losses = LOSSES.clone().requires_grad_()
    (losses.std(correction=0) / losses.mean()).backward()
    assert losses.grad is not None
    found = objective_weights("cv", LOSSES, LOSSES)
    torch.testing.assert_close(found, LOSSES.mean() * losses.grad, rtol=1e-12, atol=1e-15)
    assert abs(float(found @ LOSSES)) < 1e-12  # a common scale of the losses is nothing to the CV


@pytest.mark.parametrize("name", ["fair", "worst", "cv"])
def test_without_losses_that_differ_the_rule_decides(name: str) -> None:
    even = torch.tensor([0.2, 0.8], dtype=torch.float64)
    for losses in (torch.ones(2).double(), torch.tensor([float("nan"), 1.0]).double()):
        assert objective_weights(name, losses, even) is even


@pytest.mark.parametrize("outer", ["plain", "worst", "cv"])
def test_each_level_minimises_its_own(outer: str) -> None:
    """g_theta of the inner objective, g_Z through the outer one on the same batch: autograd through the step."""
    levels: dict[str, Any] = {"inner": "plain", "outer": outer, "outer_strength": 0.7}
    step, sampler = small_step(method="exact", xi=0.2, rule="uniform", strength=0.5, levels=levels)
    batch = sampler.batch(0, 0)
    assert step.balance is not None and step.membership is not None
    example, group = step.membership.pairs(batch, 0, batch.size)
    present = torch.bincount(group, minlength=3) > 0
    theta, z = {n: t.detach().clone() for n, t in step.theta.items()}, step.z.detach().clone()

    def inner(t: Theta, z: Tensor) -> Tensor:
        return step.model.example_losses(t, z, batch).mean()

    record = step(0, batch, lambda: batch)
    recent = torch.tensor(step.balance.recent_losses, dtype=torch.float64)[present]
    c = torch.zeros(3, dtype=torch.float64)
    c[present] = objective_weights(outer, recent, recent) if outer != "plain" else 0.0

    def upper(t: Theta, z: Tensor) -> Tensor:
        losses = step.model.example_losses(t, z, batch)
        means = torch.stack([losses[example[group == k]].mean() if present[k] else losses.sum() * 0 for k in range(3)])
        s = 0.0 if outer == "plain" else 0.7
        return (1 - s) * losses.mean() + s * (c * means).sum()

    assert record.g_z is not None and relative(record.g_z, unrolled(inner, upper, theta, z, 0.2)) < 1e-11
    leaves = {n: t.clone().requires_grad_() for n, t in theta.items()}
    for name, g in zip(leaves, torch.autograd.grad(inner(leaves, z), list(leaves.values())), strict=True):
        assert relative(record.g_theta[name], g) < 1e-12
