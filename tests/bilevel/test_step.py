"""One bi-level step against formulas written out by hand, and what it does on which step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_problems import relative, small_step, unrolled
from torch import Tensor

from bifair_dist.bilevel.gram import group_gram
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta


def fair_loss(step: BilevelStep, batch: Batch, weights: Tensor, strength: float, theta: Theta, z: Tensor) -> Tensor:
    """(1 - s) mean of l + s sum_k w_k L_k, from the definition."""
    losses = step.model.example_losses(theta, z, batch)
    assert step.membership is not None
    example, group = step.membership.pairs(batch, 0, batch.size)
    means = torch.stack([losses[example[group == k]].mean() for k in range(3)])
    return (1 - strength) * losses.mean() + strength * (weights * means).sum()


@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0])
def test_coefficients_give_the_fair_loss(strength: float) -> None:
    step, sampler = small_step(strength=strength, rule="group_dro")
    batch = sampler.batch(0, 0)
    step(0, batch, lambda: batch)  # so that the weights are not even
    assert step.balance is not None
    weights = step.balance.averaged
    assert strength == 0 or float(weights.std()) > 1e-3
    found = step.loss(step.model, batch, step.coefficients(batch))(step.theta, step.z)
    expected = fair_loss(step, batch, weights, strength, step.theta, step.z)
    assert relative(found, expected) < 1e-13


def test_tables_side_by_side_have_the_pairs_of_each() -> None:
    """Items in two tables and users in one: an example is in the groups of each, numbered one after the other."""
    step, sampler = small_step()
    batch = sampler.batch(0, 0)
    assert step.membership is not None
    one = step.membership
    two = Membership.of("item", torch.tensor([0, 3, 9]), torch.tensor([1, 0, 1]), 10, 2)
    three = Membership.of("user", torch.arange(12), torch.arange(12) % 2, 12, 2)
    joined = Membership.side_by_side([one, two, three])
    expected = [
        (e, first + g)
        for first, table in ((0, one), (3, two), (5, three))
        for e, g in zip(*(t.tolist() for t in table.pairs(batch, 4, 20)), strict=True)
    ]
    found = list(zip(*(t.tolist() for t in joined.pairs(batch, 4, 20)), strict=True))
    assert sorted(found) == sorted(expected) and len({g for _, g in found}) == 7
    assert joined.sizes.tolist() == [*one.sizes.tolist(), 1, 2, 6, 6]
    assert Membership.side_by_side([one]) is one


def test_meta_takes_the_rows_from_the_inner_batch_and_the_losses_from_the_outer_one() -> None:
    step, sampler = small_step(rule="meta", weighs_outer=True)
    batch, other = sampler.batch(0, 0), sampler.batch(0, 1)
    inner, outer = step._group_losses(batch), step._group_losses(other)
    expected, _ = group_gram(outer, step.theta, lambda t: t, with_gram=False)
    _, gram = group_gram(outer, step.theta, lambda t: t, with_gram=True, across=inner)
    record = step(0, batch, lambda: other)
    assert record.gram is not None and gram is not None and record.group_losses is not None
    assert relative(record.gram, gram) < 1e-13 and relative(record.group_losses, expected) < 1e-13


def test_a_batch_with_no_group_at_all_has_the_plain_loss() -> None:
    step, sampler = small_step(strength=0.8)
    step.membership = Membership.of(
        "item", torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64), 10, 3
    )
    batch = sampler.batch(0, 0)
    assert torch.equal(step.coefficients(batch), torch.full((25,), 1 / 25, dtype=torch.float64))
    record = step(0, batch, lambda: batch)
    assert record.g_z is not None and record.g_z.isfinite().all()


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
@pytest.mark.parametrize("other", [False, True])
def test_a_step_of_sgd_is_the_formula(method: str, other: bool) -> None:
    """theta - lr d_theta L(theta, Z) and Z - eta d_Z L_out(theta - xi d_theta L(theta, Z), Z), both at (theta, Z)."""
    xi, s = 0.2, 0.5
    step, sampler = small_step(method=method, xi=xi, eps=1e-4, theta_lr=0.3, eta=0.7, strength=s)
    batch, outer_batch = sampler.batch(0, 0), sampler.batch(0, 1)
    if not other:
        outer_batch = batch
    theta = {n: t.detach().clone().requires_grad_() for n, t in step.theta.items()}
    z = step.z.detach().clone()
    w = torch.full((3,), 1 / 3, dtype=torch.float64)

    def inner(t: Theta, z: Tensor) -> Tensor:
        return fair_loss(step, batch, w, s, t, z)

    def outer(t: Theta, z: Tensor) -> Tensor:
        return fair_loss(step, outer_batch, w, s, t, z)

    loss = inner(theta, z)
    g = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
    g_z = unrolled(inner, outer, theta, z, xi)
    assert relative(g_z, unrolled(inner, outer, theta, z, 0.0)) > 1e-3

    record = step(0, batch, lambda: outer_batch)

    tolerance = 1e-12 if method == "exact" else 2e-6
    assert relative(step.z, z - 0.7 * g_z) < tolerance
    assert record.g_z is not None and relative(record.g_z, g_z) < tolerance
    for n in theta:
        assert relative(step.theta[n], theta[n] - 0.3 * g[n]) < 1e-13
        assert relative(record.g_theta[n], g[n]) < 1e-12
    assert float(record.loss) == pytest.approx(loss.item(), rel=1e-13)
    ahead = {n: t.detach() - xi * g[n] for n, t in theta.items()}
    assert record.outer_loss is not None
    assert float(record.outer_loss) == pytest.approx(float(outer(ahead, z)), rel=1e-12)
    assert all(t.grad is None for t in step.theta.values()) and step.z.grad is None


def test_the_step_of_a_small_learning_rate_lowers_the_loss_by_what_the_gradients_say() -> None:
    """First-order consistency: the change of L(theta, Z) is -(lr |g_theta|^2 + eta |g_Z|^2) up to second order."""
    for size in (1e-3, 1e-4):
        step, sampler = small_step(method="exact", xi=0.0, theta_lr=size, eta=size)
        batch = sampler.batch(0, 0)
        a = step.coefficients(batch)
        before = step.loss(step.model, batch, a)(step.theta, step.z).detach()
        record = step(0, batch, lambda b=batch: b)
        after = step.loss(step.model, batch, a)(step.theta, step.z).detach()
        assert record.g_z is not None
        promised = size * (sum(t.pow(2).sum() for t in record.g_theta.values()) + record.g_z.pow(2).sum())
        assert float(before - after) == pytest.approx(float(promised), rel=20 * size)


def test_z_moves_at_the_last_of_the_inner_steps() -> None:
    step, sampler = small_step(inner_steps=3, optimizer="adam", theta_lr=0.01, eta=0.01)
    moved, asked = [], []
    for count in range(7):
        batch, z, theta = sampler.batch(0, count), step.z.detach().clone(), copy.deepcopy(step.theta)

        def outer(count: int = count, batch: Batch = batch) -> Batch:
            asked.append(count)
            return batch

        record = step(count, batch, outer)
        moved.append(not torch.equal(z, step.z))
        assert (record.g_z is not None) == moved[-1] and (record.outer_loss is not None) == moved[-1]
        assert all(not torch.equal(theta[n], t) for n, t in step.theta.items())
    assert moved == [False, False, True, False, False, True, False]
    assert asked == [2, 5]  # no batch is drawn for nothing


def test_levels_that_stand_still() -> None:
    for train_theta in (True, False):
        step, sampler = small_step(train_theta=train_theta, train_z=not train_theta)
        z, theta = step.z.detach().clone(), copy.deepcopy(step.theta)
        batch = sampler.batch(0, 0)
        record = step(0, batch, lambda b=batch: b)
        assert torch.equal(z, step.z) == train_theta
        assert all(torch.equal(theta[n], t) != train_theta for n, t in step.theta.items())
        if not train_theta:
            loss = step.loss(step.model, batch, step.coefficients(batch))
            at = z.clone().requires_grad_()
            expected = torch.autograd.grad(loss(theta, at), at)[0]
            assert record.g_z is not None and relative(record.g_z, expected) < 1e-14


def test_weights_are_recomputed_every_so_many_steps() -> None:
    step, sampler = small_step(refresh=3, rule="group_dro", optimizer="adam")
    seen, fresh = [], []
    for count in range(7):
        batch = sampler.batch(0, 0)
        record = step(count, batch, lambda b=batch: b)
        assert record.weights is not None
        seen.append(record.weights)
        fresh.append(record.group_losses is not None)
    assert fresh == [True, False, False, True, False, False, True]
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[2], seen[3]) and torch.equal(seen[3], seen[5])


@pytest.mark.parametrize("rule", ["uniform", "group_dro", "entropy", "mgda"])
def test_gram_only_for_rules_that_need_it(rule: str) -> None:
    step, sampler = small_step(rule=rule)
    batch = sampler.batch(0, 0)
    record = step(0, batch, lambda: batch)
    assert (record.gram is not None) == (rule in ("entropy", "mgda"))
    assert record.weights is not None and float(record.weights.sum()) == pytest.approx(1)


def test_weights_are_found_at_theta_before_the_step() -> None:
    step, sampler = small_step(rule="entropy")
    batch = sampler.batch(0, 0)
    losses = step.model.example_losses(step.theta, step.z, batch).detach()
    assert step.membership is not None
    example, group = step.membership.pairs(batch, 0, batch.size)
    record = step(0, batch, lambda: batch)
    assert record.group_losses is not None
    for k in range(3):
        assert float(record.group_losses[k]) == pytest.approx(float(losses[example[group == k]].mean()), rel=1e-13)


def test_zero_strength_is_the_plain_loss_and_computes_no_weights() -> None:
    step, sampler = small_step(strength=0.0, rule="entropy")
    batch = sampler.batch(0, 0)
    plain = step.model.example_losses(step.theta, step.z, batch).mean()
    record = step(0, batch, lambda: batch)
    assert record.group_losses is None and record.gram is None and record.weights is None
    assert float(record.loss) == pytest.approx(plain.item(), rel=1e-14)


@pytest.mark.parametrize(("entity", "expected"), [("item", [(0, 1), (2, 0), (2, 1)]), ("user", [(1, 0), (1, 1)])])
def test_membership_of_a_slice(entity: Any, expected: list[tuple[int, int]]) -> None:
    """Entity 3 is in groups 0 and 1, entity 5 in group 1, the others in none; counted from the slice's start."""
    table = Membership.of(entity, torch.tensor([5, 3, 3]), torch.tensor([1, 1, 0]), 8, 4)
    users, items = torch.tensor([5, 0, 3, 7]), torch.tensor([3, 5, 0, 3])
    batch = Batch(users, items, torch.tensor([1]), None, ((0, 4),))
    assert list(zip(*(t.tolist() for t in table.pairs(batch, 1, 4)), strict=True)) == expected
    assert table.sizes.tolist() == [1, 2, 0, 0]
