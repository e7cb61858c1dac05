from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_problems import problem

from bifair_dist.bilevel.weights.balance import GroupBalance, example_coefficients, group_losses
from bifair_dist.bilevel.weights.registry import make_rule


def balance(rule="entropy", n=4, strength=0.5, refresh_every=10, average=0.0, **options):
    return GroupBalance(
        make_rule(rule, **options), strength=strength, refresh_every=refresh_every, average=average,
        catalogue_sizes=torch.arange(1, n + 1),
    )  # fmt: skip


def batch(seed, n_examples, n_groups, most):
    """Losses and memberships where an example is in 0..most groups."""
    rng = torch.Generator().manual_seed(seed)
    losses = torch.rand(n_examples, generator=rng, dtype=torch.float64) + 2
    pairs = [
        (i, int(g))
        for i in range(n_examples)
        for g in torch.randperm(n_groups, generator=rng)[: int(torch.randint(0, most + 1, (1,), generator=rng))]
    ]
    example, group = (torch.tensor([p[j] for p in pairs], dtype=torch.long) for j in (0, 1))
    return losses, (example, group)


def test_uniform_until_the_first_update():
    b = balance()
    assert b.weights(torch.ones(4, dtype=torch.bool)).tolist() == [0.25] * 4


def test_due_and_needs_gram():
    b = balance(refresh_every=10)
    assert [s for s in range(31) if b.due(s)] == [0, 10, 20, 30]
    assert b.needs_gram and not balance("uniform").needs_gram
    plain = balance(strength=0.0)
    assert not plain.needs_gram and not any(plain.due(s) for s in range(20))


def test_absent_groups_are_left_out_of_the_problem_and_of_the_step():
    losses, gram = (torch.as_tensor(x) for x in problem(0, 4, "independent", 4, 6))
    counts = torch.tensor([5, 0, 7, 3])
    present = counts > 0
    b = balance()
    losses[1], gram[1], gram[:, 1] = torch.nan, torch.nan, torch.nan  # never looked at
    w = b.update(losses, gram, counts)
    alone = balance(n=3).update(losses[present], gram[present][:, present], counts[present])
    assert w[1] == 0
    assert torch.allclose(w[present], alone, atol=1e-14)
    # in a later step with all groups the absent one has kept its weight
    everyone = b.weights(torch.ones(4, dtype=torch.bool))
    assert everyone[1].item() == pytest.approx(0.25) and everyone.sum().item() == pytest.approx(1.0)


def test_a_step_with_fewer_groups_than_the_update_renormalises():
    b = balance("erm", n=3)
    b.update(torch.ones(3), None, torch.tensor([1, 2, 5]))
    assert b.weights(torch.tensor([True, False, True])).tolist() == pytest.approx([1 / 6, 0, 5 / 6])
    assert b.weights(torch.zeros(3, dtype=torch.bool)).tolist() == [0, 0, 0]
    before = b.raw.clone()
    assert b.update(torch.ones(3), None, torch.zeros(3)).tolist() == [0, 0, 0]
    assert torch.equal(b.raw, before)


def test_present_groups_get_weight_where_the_absent_ones_hold_it_all():
    b = balance("mgda", n=2)
    b.update(torch.ones(2), torch.diag(torch.tensor([1.0, 0.0])), torch.tensor([1, 1]))
    assert b.raw.tolist() == pytest.approx([0.0, 1.0])
    assert b.update(torch.ones(2), torch.ones(2, 2), torch.tensor([1, 0])).tolist() == [1.0, 0.0]
    assert b.raw.sum().item() == pytest.approx(1.0) and b.raw[0] > 0


def test_moving_average():
    b = balance("erm", n=2, average=0.8)
    counts = torch.tensor([9, 1])
    first = b.update(torch.ones(2), None, counts)
    assert first[0].item() == pytest.approx(0.8 * 0.5 + 0.2 * 0.9)
    second = b.update(torch.ones(2), None, counts)
    assert second[0].item() == pytest.approx(0.8 * first[0].item() + 0.2 * 0.9)


def test_group_dro_steps_from_its_own_weights_and_not_from_the_average():
    losses, counts = torch.tensor([1.0, 3.0]), torch.tensor([1, 1])
    plain, averaged = balance("group_dro", n=2, dro_step=0.3), balance("group_dro", n=2, dro_step=0.3, average=0.9)
    for _ in range(3):
        plain.update(losses, None, counts)
        averaged.update(losses, None, counts)
    assert torch.allclose(plain.raw, averaged.raw)
    ratio = plain.raw[1] / plain.raw[0]
    assert ratio.item() == pytest.approx(torch.tensor(0.3 * 2.0 * 3).exp().item(), rel=1e-6)


def test_state_comes_back():
    b = balance("group_dro", n=3, average=0.5)
    b.update(torch.tensor([1.0, 2.0, 3.0]), None, torch.tensor([1, 1, 1]))
    other = balance("group_dro", n=3, average=0.5)
    other.load_state_dict(b.state_dict())
    args = (torch.tensor([3.0, 2.0, 1.0]), None, torch.tensor([2, 0, 1]))
    assert torch.equal(b.update(*args), other.update(*args))
    with pytest.raises(ValueError, match="3 groups, this run has 4"):
        balance(n=4).load_state_dict(b.state_dict())


def test_loading_copies():
    b = balance("group_dro", n=2)
    state = b.state_dict()
    b.update(torch.tensor([1.0, 9.0]), None, torch.tensor([1, 1]))
    assert state["raw"].tolist() == [0.5, 0.5]


def test_group_losses_are_means_and_differentiable():
    losses = torch.tensor([1.0, 2.0, 6.0, 9.0], requires_grad=True)
    pairs = (torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 2, 2]))
    counts = torch.bincount(pairs[1], minlength=4)
    assert counts.tolist() == [2, 0, 2, 0]
    means = group_losses(losses, pairs, counts)
    assert means.tolist() == [1.5, 0.0, 4.0, 0.0]
    means.sum().backward()
    assert losses.grad is not None and losses.grad.tolist() == [0.5, 1.0, 0.5, 0.0]


@given(st.integers(0, 5000), st.integers(1, 30), st.integers(1, 6), st.sampled_from([0.0, 0.15, 1.0]))
@settings(max_examples=60, deadline=None)
def test_coefficients_give_the_loss_of_the_definition(seed, n_examples, n_groups, strength):
    losses, pairs = batch(seed, n_examples, n_groups, most=min(3, n_groups))
    counts = torch.bincount(pairs[1], minlength=n_groups)
    w = torch.rand(n_groups, dtype=torch.float64) * (counts > 0)
    a = example_coefficients(w, pairs, counts, n_examples, strength)
    expected = (1 - strength) * losses.mean() + strength * (w * group_losses(losses, pairs, counts)).sum()
    assert (a * losses).sum().item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("most", [1, 3])
def test_strength_zero_is_the_plain_mean_for_multi_label_and_uncovered_items(most):
    losses, pairs = batch(4, 40, 5, most)
    counts = torch.bincount(pairs[1], minlength=5)
    assert len(torch.unique(pairs[0])) < 40  # some positives are in no group
    a = example_coefficients(torch.full((5,), 0.2, dtype=torch.float64), pairs, counts, 40, 0.0)
    assert torch.equal(a, torch.full((40,), 1 / 40, dtype=torch.float64))
    assert (a * losses).sum().item() == pytest.approx(losses.mean().item(), rel=1e-14)


def test_on_a_partition_the_strength_mixes_with_the_erm_weights():
    n, groups = 30, 4
    losses = torch.rand(n, dtype=torch.float64)
    pairs = (torch.arange(n), torch.arange(n) % groups)
    counts = torch.bincount(pairs[1], minlength=groups)
    w = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    mixed = 0.7 * counts / n + 0.3 * w
    a = example_coefficients(w, pairs, counts, n, 0.3)
    assert (a * losses).sum().item() == pytest.approx((mixed * group_losses(losses, pairs, counts)).sum().item())
    assert a.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [2, 3])
def test_slices_of_the_batch_add_up_to_the_whole(size):
    n, groups = 20, 4
    losses, pairs = batch(8, n, groups, 2)
    counts = torch.bincount(pairs[1], minlength=groups)
    w = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    whole = example_coefficients(w, pairs, counts, n, 0.6)
    parts, sums = [], torch.zeros(groups, dtype=torch.float64)
    m = -(-n // size)
    for r in range(size):
        low, high = r * m, min((r + 1) * m, n)
        mine = (pairs[0] >= low) & (pairs[0] < high)
        local = (pairs[0][mine] - low, pairs[1][mine])
        parts.append(example_coefficients(w, local, counts, n, 0.6, n_examples=high - low))
        sums += group_losses(losses[low:high], local, counts)
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-14)
    assert torch.allclose(sums, group_losses(losses, pairs, counts), rtol=1e-12)


def test_the_strength_follows_the_budget():
    """Logit by -rate * shortfall; the dial's ends and undefined figures leave it; a resumed balance has it."""
    b = balance("uniform", strength=0.5)
    b.adapt(10.0, -0.1)  # a tenth to spare: log-odds 0 + 1
    assert b.strength == pytest.approx(1 / (1 + math.exp(-1)))
    other = balance("uniform", strength=0.5)
    other.load_state_dict(b.state_dict())
    assert other.strength == b.strength
    b.adapt(10.0, 0.1)
    assert b.strength == pytest.approx(0.5)
    b.adapt(0.0, 5.0)
    b.adapt(10.0, math.nan)
    assert b.strength == pytest.approx(0.5)
    b.adapt(10.0, 1e9)
    assert b.strength == pytest.approx(0.01)  # it comes back from there
    for end in (0.0, 1.0):
        fixed = balance("uniform", strength=end)
        fixed.adapt(10.0, 0.3)
        assert fixed.strength == end
