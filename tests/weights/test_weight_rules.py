from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_problems import KINDS, context, problem

from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import RULES, make_rule
from bifair_dist.bilevel.weights.rule import RuleContext
from bifair_dist.errors import UserError

OF_GROUPS = sorted(name for name, rule in RULES.items() if not rule.weighs_items)
SOLVED = ("entropy", "mgda", "entropy_mgda")


def weights(name, losses, gram, ctx=None, **options):
    losses = torch.as_tensor(losses)
    return make_rule(name, **options)(losses, torch.as_tensor(gram), ctx or context(len(losses)))


@given(st.sampled_from(OF_GROUPS), st.integers(1, 8), st.sampled_from(KINDS), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_every_rule_returns_a_point_of_the_simplex(name, n, kind, seed):
    losses, gram = problem(seed, n, kind, 0.1, 8.0)
    w = weights(name, losses, gram)
    assert w.shape == (n,) and w.dtype == torch.float64
    assert (w >= 0).all() and w.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_meta_raises_whoever_helps_the_worst_served():
    """Gradients of one group each: log-weights move by s times its part of v. A group that harms all loses weight."""
    losses, s = np.array([4.0, 3.0, 2.0]), 0.3
    c = np.exp((losses - 4.0) / losses.std())
    c /= c.sum()
    even = weights("meta", losses, np.eye(3), meta_step=s).numpy()
    expected = np.exp(s * c / c.max())
    assert even == pytest.approx(expected / expected.sum(), rel=1e-12)
    gram = np.array([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0]])  # only group 1 helps group 0, and group 2 undoes it
    found = weights("meta", losses, gram, meta_step=s).numpy()
    assert found / found[0] == pytest.approx([1, np.exp(s), np.exp(-s)], rel=1e-12)
    assert weights("meta", losses, np.zeros((3, 3))).numpy() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("name", OF_GROUPS)
def test_output_has_the_dtype_of_the_losses(name):
    losses, gram = problem(0, 4, "independent")
    w = weights(name, torch.tensor(losses, dtype=torch.float32), torch.tensor(gram, dtype=torch.float32))
    assert w.dtype == torch.float32
    assert w.numpy() == pytest.approx(weights(name, losses, gram).numpy(), abs=2e-4)


@pytest.mark.parametrize("name", OF_GROUPS)
def test_permuting_groups_permutes_weights(name):
    for kind in KINDS:
        if kind == "low_rank" and name in ("entropy", "mgda"):
            continue  # many optima: which one comes out depends on the order of the groups
        losses, gram = problem(7, 6, kind)
        order = torch.tensor(np.random.default_rng(2).permutation(6))
        ctx = context(6)
        permuted = RuleContext(ctx.counts[order], ctx.catalogue_sizes[order], ctx.previous[order], ctx.streamed[order])
        steps = {"frank_wolfe_steps": 2000}
        straight = weights(name, losses, gram, ctx, **steps)
        turned = weights(name, losses[order.numpy()], gram[np.ix_(order, order)], permuted, **steps)
        assert torch.allclose(straight[order], turned, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scale_of_losses_and_gradients_does_not_matter(kind):
    losses, gram = problem(11, 5, kind)
    for c, k in ((4.0, 1.0), (1.0, 0.25), (2.0**-20, 2.0**-40), (1.0, 2.0**-900), (1.0, 2.0**600)):
        assert torch.equal(weights("entropy", losses, gram), weights("entropy", c * losses, k * gram))
    for name in ("mgda", "entropy_mgda"):
        for k in (2.0**-900, 0.25, 2.0**600):
            assert torch.equal(weights(name, losses, gram), weights(name, losses, k * gram))


@pytest.mark.parametrize("name", SOLVED)
@pytest.mark.parametrize("n", [1, 4])
def test_zero_gradients_give_uniform_weights(name, n):
    w = weights(name, np.linspace(2.0, 6.0, n), np.zeros((n, n)))
    assert torch.equal(w, torch.full((n,), 1.0 / n, dtype=torch.float64))


@pytest.mark.parametrize("name", SOLVED)
def test_equal_losses_with_alike_gradients_give_uniform_weights(name):
    gram = np.full((4, 4), 0.3) + 0.7 * np.eye(4)
    assert weights(name, np.full(4, 5.0), gram).numpy() == pytest.approx(np.full(4, 0.25), abs=1e-12)


def test_a_loss_of_zero_leaves_nothing_to_look_ahead():
    _, gram = problem(0, 3, "independent")
    assert weights("entropy", np.array([0.0, 2.0, 3.0]), gram).numpy() == pytest.approx(np.full(3, 1 / 3))


@pytest.mark.parametrize("name", SOLVED)
def test_diverged_training_is_named(name):
    gram = np.eye(2)
    gram[0, 1] = np.nan
    with pytest.raises(ValueError, match="Gram matrix hold nan"):
        weights(name, np.ones(2), gram)
    with pytest.raises(ValueError, match="needs the Gram matrix"):
        make_rule(name)(torch.ones(2), None, context(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 5, 9, 20])
def test_entropy_never_collapses_to_one_group_at_default_settings(n, kind):
    for seed in range(12):
        for low, high in ((2.0, 6.0), (5.0, 5.5), (0.05, 8.0)):
            losses, gram = problem(seed, n, kind, low, high)
            w = weights("entropy", losses, gram)
            assert w.max() <= 0.5 + 0.5 / n + 1e-12
            assert w.min() >= 0.5 / n - 1e-12


def test_bare_entropy_does_collapse_which_is_why_there_is_a_floor():
    losses, gram = np.array([2.0, 6.0]), np.eye(2)
    assert weights("entropy", losses, gram, entropy_floor=0.0).tolist() == [0.0, 1.0]
    assert weights("entropy", losses, gram).numpy() == pytest.approx([0.25, 0.75])


def test_entropy_known_answer_in_the_interior():
    # Orthogonal unit gradients: a = 2.5, and 5 - 2.5 w1 = 5.2 - 2.5 w2 makes the losses equal.
    w = weights("entropy", np.array([5.0, 5.2]), np.eye(2), entropy_floor=0.0)
    assert w.numpy() == pytest.approx([0.46, 0.54], abs=1e-9)


def test_entropy_prefers_the_group_with_the_larger_loss():
    for seed in range(20):
        losses = np.sort(np.random.default_rng(seed).uniform(4.5, 5.0, 5))
        w = weights("entropy", losses, np.eye(5), frank_wolfe_steps=500)
        assert (torch.diff(w) >= -1e-9).all()


def test_mgda_known_answer():
    # |g1| = 1, |g2| = 2, orthogonal: the least-norm point has w1 / w2 = 4.
    assert weights("mgda", np.ones(2), np.diag([1.0, 4.0])).numpy() == pytest.approx([0.8, 0.2], abs=1e-9)


def test_entropy_mgda_lies_between_mgda_and_uniform():
    gram = np.diag([1.0, 4.0, 9.0])
    near = weights("entropy_mgda", np.ones(3), gram, entropy_lambda=1e-9, frank_wolfe_steps=2000)
    far = weights("entropy_mgda", np.ones(3), gram, entropy_lambda=1e9)
    assert near.numpy() == pytest.approx(weights("mgda", np.ones(3), gram, frank_wolfe_steps=2000).numpy(), abs=1e-6)
    assert far.numpy() == pytest.approx(np.full(3, 1 / 3), abs=1e-6)


def test_group_dro_known_answer():
    previous = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    losses = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    w = make_rule("group_dro", dro_step=0.5)(losses, None, context(3, previous))
    raw = [0.5 * math.exp(0.5), 0.3 * math.exp(1.0), 0.2 * math.exp(2.0)]
    assert w.tolist() == pytest.approx([r / sum(raw) for r in raw], rel=1e-12)


def test_group_dro_survives_large_losses_and_vanished_weights():
    previous = torch.tensor([1.0, 0.0], dtype=torch.float64)
    w = make_rule("group_dro", dro_step=1.0)(torch.tensor([0.0, 1e4], dtype=torch.float64), None, context(2, previous))
    assert w.tolist() == [0.0, 1.0]


def test_streaming_dro_known_answer():
    """Two recomputations by hand; the second group is absent from the second one, so its average stays."""
    balance = GroupBalance(
        make_rule("streaming_dro", dro_step=0.5), strength=1.0, refresh_every=1, average=0.0,
        catalogue_sizes=torch.ones(3), stream_rate=0.25,
    )  # fmt: skip
    balance.update(torch.tensor([4.0, 8.0, 2.0]), None, torch.ones(3))
    first = np.exp(0.5 * np.array([1.0, 2.0, 0.5]))
    assert balance.raw.numpy() == pytest.approx(first / first.sum(), rel=1e-14)
    balance.update(torch.tensor([8.0, 99.0, 2.0]), None, torch.tensor([1.0, 0.0, 1.0]))
    assert balance.streamed.tolist() == pytest.approx([0.75 * 1.0 + 2.0, 2.0, 0.75 * 0.5 + 0.5], rel=1e-14)
    # Without the start at zero: each a mean of the losses that were seen, the latest counting most.
    assert balance.recent_losses == pytest.approx([2.75 / 0.4375, 8.0, 0.875 / 0.4375], rel=1e-14)
    second = first / first.sum()
    shared = 1 - second[1]
    second[[0, 2]] *= np.exp(0.5 * np.array([2.75, 0.875]))
    second[[0, 2]] *= shared / second[[0, 2]].sum()
    assert balance.raw.numpy() == pytest.approx(second, rel=1e-14)
    again = GroupBalance(
        balance.rule, strength=1.0, refresh_every=1, average=0.0, catalogue_sizes=torch.ones(3), stream_rate=0.25
    )
    again.load_state_dict(balance.state_dict())
    for b in (balance, again):
        b.update(torch.tensor([1.0, 1.0, 1.0]), None, torch.ones(3))
    assert torch.equal(balance.raw, again.raw)


def test_streaming_dro_at_rate_one_is_group_dro():
    losses = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    both = []
    for name in ("streaming_dro", "group_dro"):
        balance = GroupBalance(
            make_rule(name), strength=1.0, refresh_every=1, average=0.0, catalogue_sizes=torch.ones(3), stream_rate=1.0
        )
        for _ in range(3):
            balance.update(losses, None, torch.ones(3))
        both.append(balance.raw)
    assert torch.equal(*both)


def test_fixed_rules_known_answers():
    losses = torch.ones(3, dtype=torch.float64)
    assert make_rule("uniform")(losses, None, context(3)).tolist() == pytest.approx([1 / 3] * 3)
    assert make_rule("erm")(losses, None, context(3)).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert make_rule("reweight")(losses, None, context(3)).tolist() == pytest.approx([2 / 11, 3 / 11, 6 / 11])


def test_settings_of_other_rules_are_left_out():
    assert make_rule("mgda", rho=0.4, frank_wolfe_steps=7, dro_step=1.0).frank_wolfe_steps == 7


def test_unknown_names_say_the_nearest():
    with pytest.raises(UserError, match="did you mean group_dro"):
        make_rule("groupdro")
    with pytest.raises(UserError, match="did you mean dro_step"):
        make_rule("uniform", dro_stepp=1.0)
