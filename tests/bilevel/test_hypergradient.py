"""The hypergradient: exact against autograd through the unrolled step, finite difference against exact."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from small_problems import gradient, itself, norm, relative, small_step, smooth_losses, unrolled
from torch import Tensor

from bifair_dist.bilevel.exact import exact, mixed_product
from bifair_dist.bilevel.finite_difference import finite_difference, z_gradient
from bifair_dist.bilevel.hypergradient import Loss, step
from bifair_dist.model.projector import Theta


def backbone_losses(seed: int) -> tuple[Loss, Loss, Theta, Tensor]:
    """Two batches of the small recommender."""
    bilevel, sampler = small_step(seed=seed)
    losses = []
    for s in (0, 1):
        batch = sampler.batch(0, s)
        losses.append(bilevel.loss(bilevel.model, batch, bilevel.coefficients(batch)))
    return losses[0], losses[1], {n: t.detach() for n, t in bilevel.theta.items()}, bilevel.z.detach()


PROBLEMS = {"smooth": smooth_losses, "recommender": backbone_losses}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("xi", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("problem", list(PROBLEMS))
def test_exact_is_autograd_through_the_unrolled_step(problem: str, xi: float, seed: int) -> None:
    inner, outer, theta, z = PROBLEMS[problem](seed)
    for out in (inner, outer):  # the same data in both levels, and other data
        found = exact(inner, out, theta, gradient(inner, theta, z), z, xi=xi, total=itself)
        expected = unrolled(inner, out, theta, z, xi)
        assert relative(found.g_z, expected) < 1e-12
        assert relative(found.g_z, unrolled(inner, out, theta, z, 0.0)) > 1e-5  # the second order is not nothing


def parts(problem: str, eps: float, xi: float = 0.3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Second-order terms: by the finite difference in `dtype`, and exact in float64."""
    inner, outer, theta, z = PROBLEMS[problem](0)
    g = gradient(inner, theta, z)
    arguments: dict[str, Any] = {"xi": xi, "total": itself}
    first = exact(inner, outer, step(theta, g, -xi), g, z, xi=0.0, total=itself).g_z  # d_Z L_out(theta', Z)
    true = exact(inner, outer, theta, g, z, **arguments).g_z - first
    low = {n: t.to(dtype) for n, t in theta.items()}
    z_low = z.to(dtype)
    if dtype != torch.float64 and problem == "recommender":
        raise ValueError("the recommender's graph is in float64")
    g_low = gradient(inner, low, z_low)
    found = finite_difference(inner, outer, low, g_low, z_low, eps=eps, **arguments).g_z
    first_low = exact(inner, outer, step(low, g_low, -xi), g_low, z_low, xi=0.0, total=itself).g_z
    return (found - first_low).double(), true


def test_error_of_the_finite_difference_falls_with_the_square_of_eps() -> None:
    errors = [relative(*parts("smooth", eps)) for eps in (0.1, 0.05, 0.025, 0.0125)]
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert errors[0] < 0.1
    assert all(3.5 < r < 4.5 for r in ratios), errors


def test_finite_difference_reaches_the_exact_term() -> None:
    assert relative(*parts("smooth", 1e-4)) < 1e-7
    assert relative(*parts("recommender", 1e-5)) < 1e-7  # no kink of the LeakyReLU within eps


def test_error_in_float32_at_a_good_eps() -> None:
    """Rounding / eps against eps^2: the best eps is near the cube root of the precision, here a few hundredths."""
    errors = {eps: relative(*parts("smooth", eps, dtype=torch.float32)) for eps in (1e-5, 1e-2, 1.0)}
    assert errors[1e-2] < 1e-3
    assert errors[1e-5] > 10 * errors[1e-2] and errors[1.0] > 10 * errors[1e-2], errors


METHODS = {
    "exact": lambda *args, **kw: exact(*args, **kw),
    "finite difference": lambda *args, **kw: finite_difference(*args, eps=1e-3, **kw),
}


@pytest.mark.parametrize("method", list(METHODS))
def test_first_order_without_a_look_ahead(method: str) -> None:
    inner, outer, theta, z = smooth_losses(0)
    found = METHODS[method](inner, outer, theta, gradient(inner, theta, z), z, xi=0.0, total=itself)
    assert torch.equal(found.g_z, z_gradient(outer, theta, z))
    assert found.v_norm == pytest.approx(norm(gradient(outer, theta, z)), rel=1e-14)
    assert float(found.outer_loss) == float(outer(theta, z))


@pytest.mark.parametrize("method", list(METHODS))
def test_second_order_term_is_linear_in_xi(method: str) -> None:
    """With theta' held where it is, by an inner gradient that shrinks as xi grows."""
    inner, outer, theta, z = smooth_losses(1)
    g = gradient(inner, theta, z)

    def second(xi: float) -> Tensor:
        scaled = {n: t * (0.1 / xi) for n, t in g.items()}
        base = z_gradient(outer, step(theta, g, -0.1), z)
        return METHODS[method](inner, outer, theta, scaled, z, xi=xi, total=itself).g_z - base

    one = second(0.1)
    for factor in (0.5, 3.0, 20.0):
        assert relative(second(0.1 * factor), factor * one) < 1e-9


@pytest.mark.parametrize("method", list(METHODS))
def test_v_is_the_outer_gradient_at_the_look_ahead(method: str) -> None:
    inner, outer, theta, z = smooth_losses(2)
    g = gradient(inner, theta, z)
    found = METHODS[method](inner, outer, theta, g, z, xi=0.4, total=itself)
    expected = gradient(outer, {n: t - 0.4 * g[n] for n, t in theta.items()}, z)
    assert all(relative(found.v[n], expected[n]) < 1e-14 for n in expected)
    assert found.v_norm == pytest.approx(norm(expected), rel=1e-14)
    assert found.e == (0.0 if method == "exact" else pytest.approx(1e-3 / norm(expected), rel=1e-14))


@pytest.mark.parametrize("method", list(METHODS))
def test_v_of_zero(method: str) -> None:
    """At a stationary point of the outer loss there is no direction to look along: no division by its norm."""
    inner, _, theta, z = smooth_losses(0)
    found = METHODS[method](
        inner, lambda t, z: (z**2).sum() + 0 * t["w1"].sum() + 0 * t["b1"].sum(), theta, gradient(inner, theta, z), z,
        xi=0.3, total=itself,
    )  # fmt: skip
    assert found.v_norm == 0.0 and found.e == 0.0
    torch.testing.assert_close(found.g_z, 2 * z)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_sum_over_places_is_taken_of_v_before_anything_is_made_of_it(method: str) -> None:
    """Two places with half of the loss each: parts of g_Z add up to that of the whole, v and e are the whole's."""
    inner, outer, theta, z = smooth_losses(3)
    shares = (0.3, 0.7)
    g = gradient(inner, theta, z)
    whole = METHODS[method](inner, outer, theta, g, z, xi=0.3, total=itself)
    v = [gradient(lambda t, z, s=s: s * outer(t, z), step(theta, g, -0.3), z) for s in shares]

    def total(theta: Theta) -> Theta:
        return {n: v[0][n] + v[1][n] for n in theta}

    results = [
        METHODS[method](
            lambda t, z, s=s: s * inner(t, z), lambda t, z, s=s: s * outer(t, z), theta, g, z, xi=0.3, total=total
        )
        for s in shares
    ]
    assert relative(results[0].g_z + results[1].g_z, whole.g_z) < 1e-9
    assert all(r.v_norm == pytest.approx(whole.v_norm) and r.e == pytest.approx(whole.e) for r in results)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", list(METHODS))
def test_theta_and_z_come_back_bit_for_bit(method: str, dtype: torch.dtype) -> None:
    inner, outer, theta, z = smooth_losses(0)
    theta, z = {n: t.to(dtype).requires_grad_() for n, t in theta.items()}, z.to(dtype).requires_grad_()
    before, z_before = {n: t.detach().clone() for n, t in theta.items()}, z.detach().clone()
    g = gradient(inner, theta, z)
    g_before = {n: t.clone() for n, t in g.items()}
    found = METHODS[method](inner, outer, theta, g, z, xi=0.3, total=itself)
    assert all(torch.equal(theta[n], before[n]) and torch.equal(g[n], g_before[n]) for n in theta)
    assert torch.equal(z, z_before) and z.grad is None and all(t.grad is None for t in theta.values())
    assert not found.g_z.requires_grad and not any(t.requires_grad for t in found.v.values())


def test_perturbation_is_around_theta_and_not_the_look_ahead() -> None:
    """The points at which the inner loss is asked for: theta +- e v, with the same Z."""
    inner, outer, theta, z = smooth_losses(4)
    asked: list[Tensor] = []

    def spy(t: Theta, z: Tensor) -> Tensor:
        asked.append(t["w1"].detach().clone())
        return inner(t, z)

    found = finite_difference(spy, outer, theta, gradient(inner, theta, z), z, xi=0.3, eps=0.01, total=itself)
    assert len(asked) == 2
    torch.testing.assert_close(asked[0] + asked[1], 2 * theta["w1"], rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(asked[0] - asked[1], 2 * found.e * found.v["w1"], rtol=1e-9, atol=1e-15)
    e_v = {n: found.e * t for n, t in found.v.items()}
    assert norm(e_v) == pytest.approx(0.01)


def test_mixed_product_is_the_derivative_of_the_inner_product() -> None:
    inner, _, theta, z = smooth_losses(5)
    rng = torch.Generator().manual_seed(1)
    v = {n: torch.randn(t.shape, generator=rng, dtype=torch.float64) for n, t in theta.items()}
    product = mixed_product(inner, theta, v, z)
    for at in ((0, 0), (3, 2)):
        bump = torch.zeros_like(z)
        bump[at] = 1e-6
        up, down = gradient(inner, theta, z + bump), gradient(inner, theta, z - bump)
        slope = sum(float(((up[n] - down[n]) * v[n]).sum()) for n in theta) / 2e-6
        assert float(product[at]) == pytest.approx(slope, rel=1e-6)


def test_perturbed_passes_run_outside_autocast() -> None:
    """bf16 rounds more coarsely than the perturbation."""
    inner, _, theta, z = smooth_losses(0)
    theta, z = {n: t.float() for n, t in theta.items()}, z.float()
    expected = z_gradient(inner, theta, z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(z_gradient(inner, theta, z), expected)
