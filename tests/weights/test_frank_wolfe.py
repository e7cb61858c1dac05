from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from weights_problems import KINDS, problem

from bifair_dist.bilevel.weights.frank_wolfe import frank_wolfe
from bifair_dist.bilevel.weights.rules.entropy import Entropy, entropy_gradient, look_ahead, predicted_entropy
from bifair_dist.bilevel.weights.rules.entropy_mgda import EntropyMgda
from bifair_dist.bilevel.weights.rules.mgda import Mgda

SIZES = (2, 3, 5, 9)
MANY_STEPS = 3000


def slsqp(value, gradient, n, least=0.0):
    """Best of a few SLSQP runs over {w >= least, sum w = 1}."""
    rng = np.random.default_rng(1)
    starts = [np.full(n, 1.0 / n), *(least + (1 - n * least) * rng.dirichlet(np.ones(n), 3))]
    found = [
        minimize(
            value, s, jac=gradient, method="SLSQP", bounds=[(least, 1.0)] * n,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for s in starts
    ]  # fmt: skip
    return min(f.fun for f in found)


def test_projects_onto_the_simplex():
    # min 1/2 |w - c|^2 has a closed form: subtract the threshold that makes the positive parts sum to one.
    c = np.array([0.9, 0.4, -0.3, 0.1])
    s = frank_wolfe(lambda w: w - c, 4, steps=500)
    assert s.weights == pytest.approx([0.75, 0.25, 0.0, 0.0], abs=1e-7)
    assert s.weights.min() >= 0 and s.weights.sum() == pytest.approx(1.0, abs=1e-15)
    assert s.gap <= 1e-12


def test_maximise_is_minimise_of_the_negative():
    c = np.array([0.2, 0.5, -0.3])
    up = frank_wolfe(lambda w: c - w, 3, steps=100, maximise=True)
    down = frank_wolfe(lambda w: w - c, 3, steps=100)
    assert (up.weights == down.weights).all()


def test_starts_at_uniform_and_stays_where_nothing_is_to_gain():
    s = frank_wolfe(lambda w: np.zeros(5), 5, steps=20)
    assert s.weights == pytest.approx(np.full(5, 0.2), abs=0)
    assert s.iterations == 0 and s.gap == 0


def test_one_step_is_a_line_search_and_not_a_jump_to_a_vertex():
    c = np.array([0.4, 0.35, 0.25])
    s = frank_wolfe(lambda w: w - c, 3, steps=1)
    assert s.iterations == 1 and s.weights.max() < 0.5


def test_linear_function_ends_at_the_best_vertex():
    s = frank_wolfe(lambda w: np.array([3.0, 1.0, 2.0]), 3, steps=20)
    assert (s.weights == [0.0, 1.0, 0.0]).all()


def test_one_group():
    assert frank_wolfe(lambda w: np.array([7.0]), 1, steps=20).weights == [1.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_entropy_against_scipy(n, kind, floor):
    for seed in range(2):
        losses, gram = problem(seed, n, kind, 3.0, 6.0)
        a = look_ahead(losses, gram, 0.5)
        s = Entropy(entropy_floor=floor, frank_wolfe_steps=MANY_STEPS).solve(losses, gram)
        reached = predicted_entropy(losses, gram, a, s.weights)
        best = -slsqp(
            lambda w, a=a, losses=losses, gram=gram: -predicted_entropy(losses, gram, a, w),
            lambda w, a=a, losses=losses, gram=gram: -entropy_gradient(losses, gram, a, w),
            n, least=floor / n,
        )  # fmt: skip
        assert s.gap < 1e-9
        assert reached >= best - 1e-9
        # the certificate, recomputed by its definition over the shrunk simplex
        g = entropy_gradient(losses, gram, a, s.weights)
        gap = (1 - floor) * g.max() + floor * g.mean() - g @ s.weights
        assert gap == pytest.approx(s.gap, abs=1e-10)
        early = Entropy(entropy_floor=floor, frank_wolfe_steps=1).solve(losses, gram)
        g = entropy_gradient(losses, gram, a, early.weights)
        assert early.gap == pytest.approx((1 - floor) * g.max() + floor * g.mean() - g @ early.weights, abs=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_mgda_against_scipy(n, kind):
    for seed in range(2):
        _, gram = problem(seed, n, kind)
        gram = gram / np.abs(gram).max()
        s = Mgda(frank_wolfe_steps=MANY_STEPS).solve(gram)
        best = slsqp(lambda w, gram=gram: 0.5 * w @ gram @ w, lambda w, gram=gram: gram @ w, n)
        assert s.gap < 1e-9
        assert 0.5 * s.weights @ gram @ s.weights <= best + 1e-9
        # KKT: all groups in use have the same inner product with the common direction, no other has a smaller one
        inner = gram @ s.weights
        assert np.ptp(inner[s.weights > 1e-4]) < 1e-4 and inner.min() >= s.weights @ inner - 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_entropy_mgda_against_scipy(n, kind):
    for seed in range(2):
        _, gram = problem(seed, n, kind)
        gram = gram / np.abs(gram).max()
        weight = 0.1 * np.trace(gram) / n
        s = EntropyMgda(frank_wolfe_steps=MANY_STEPS).solve(gram)

        def value(w, gram=gram, weight=weight):
            return 0.5 * w @ gram @ w + weight * np.sum(w * np.log(w))

        best = slsqp(value, lambda w, gram=gram, weight=weight: gram @ w + weight * (np.log(w) + 1), n, least=1e-12)
        assert s.weights.min() > 0
        assert s.gap < 1e-9
        assert value(s.weights) <= best + 1e-9


@pytest.mark.parametrize("n", SIZES)
def test_twenty_steps_are_near_enough(n):
    for kind in KINDS:
        losses, gram = problem(3, n, kind)
        assert Entropy().solve(losses, gram).gap < 1e-3
        assert EntropyMgda().solve(gram).gap < 1e-3


def test_entropy_gradient_against_finite_differences():
    for seed, kind in enumerate(KINDS):
        losses, gram = problem(seed, 5, kind)
        a = look_ahead(losses, gram, 0.5)
        w = np.random.default_rng(seed).dirichlet(np.ones(5))
        h = 1e-6
        numeric = [
            (predicted_entropy(losses, gram, a, w + h * e) - predicted_entropy(losses, gram, a, w - h * e)) / (2 * h)
            for e in np.eye(5)
        ]
        assert entropy_gradient(losses, gram, a, w) == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.9])
def test_look_ahead_keeps_predicted_losses_positive_on_the_whole_simplex(rho):
    for kind in KINDS:
        losses, gram = problem(5, 6, kind)
        a = look_ahead(losses, gram, rho)
        share_left = (losses[:, None] - a * gram) / losses[:, None]  # at the vertices, which bound a linear function
        assert share_left.min() >= 1 - rho - 1e-12
        assert (a * np.abs(gram) / losses[:, None]).max() == pytest.approx(rho)  # and no shorter than it has to be
