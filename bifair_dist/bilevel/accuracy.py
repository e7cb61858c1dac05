"""How well the finite difference of `finite_difference.py` meets the exact second-order term of `exact.py`.

    s      = (d^2 L_in / dZ dtheta)(theta, Z) v                                       exact, in float64: the reference
    s_eps  = [ d_Z L_in(theta + e v, Z) - d_Z L_in(theta - e v, Z) ] / (2 e)          e = eps / ||v||
    error  = ||s_eps - s|| / ||s||,    cosine = <s_eps, s> / (||s_eps|| ||s||);       the same for the whole g_Z

Two things limit s_eps: below, rounding (the difference of two gradients loses digits as 1 / e); above, curvature, and
with a piecewise linear activation its kinks. s differentiates the one linear piece that theta lies on and sees no kink;
a step that crosses kinks, however small, sees the jumps of the gradient there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from bifair_dist.bilevel.exact import mixed_product
from bifair_dist.bilevel.finite_difference import finite_difference, z_gradient
from bifair_dist.bilevel.hypergradient import Loss, norm, outer_gradients, step
from bifair_dist.model.projector import Theta

EPS_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


@dataclass(frozen=True, slots=True)
class Point:
    """The two losses and a state (theta, Z [N, d]) in one number format, all in one process."""

    inner: Loss
    outer: Loss
    theta: Theta
    z: Tensor


@dataclass(frozen=True, slots=True)
class Closeness:
    """Relative error and cosine of an approximation, both against the float64 reference."""

    error: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The finite difference at one eps in one number format: its second-order term, and the whole g_Z."""

    eps: float
    second: Closeness
    whole: Closeness


@dataclass(frozen=True, slots=True)
class Reference:
    """The exact hypergradient in float64 at one point: v with ||v||, ||d_Z L_out||, s and g_Z [N, d]."""

    v: Theta
    v_norm: float
    first_norm: float
    second: Tensor
    g_z: Tensor
    xi: float

    @property
    def share(self) -> float:
        """||xi s|| / ||d_Z L_out||: what the second-order term adds to the first-order one."""
        return self.xi * float(self.second.norm()) / self.first_norm if self.first_norm else 0.0


def reference(point: Point, *, xi: float) -> Reference:
    """The exact hypergradient at a float64 point."""
    _, g_theta, _ = outer_gradients(point.inner, point.theta, point.z, _same)
    first, v, _ = outer_gradients(point.outer, step(point.theta, g_theta, -xi), point.z, _same)
    second = mixed_product(point.inner, point.theta, v, point.z)
    return Reference(v, norm(v), float(first.norm()), second, first - xi * second, xi)


def accuracy(point: Point, exact: Reference, grid: Sequence[float] = EPS_GRID) -> list[Accuracy]:
    """The finite difference at every eps of the grid, in the number format of the point, v included."""
    _, g_theta, _ = outer_gradients(point.inner, point.theta, point.z, _same)
    _, v, _ = outer_gradients(point.outer, step(point.theta, g_theta, -exact.xi), point.z, _same)
    rows = []
    for eps in grid:
        e = eps / norm(v)
        plus, minus = (z_gradient(point.inner, step(point.theta, v, sign * e), point.z) for sign in (1.0, -1.0))
        whole = finite_difference(
            point.inner, point.outer, point.theta, g_theta, point.z, xi=exact.xi, eps=eps, total=_same
        )
        second = (plus - minus) / (2 * e)
        rows.append(Accuracy(eps, closeness(second, exact.second), closeness(whole.g_z, exact.g_z)))
    return rows


def crossed_kinks(active: Callable[[Theta], Tensor], theta: Theta, exact: Reference, eps: float) -> float:
    """Share of the units `active` (bool, any shape) that are on different sides of their kink at theta + e v, - e v."""
    e = eps / exact.v_norm
    return float((active(step(theta, exact.v, e)) != active(step(theta, exact.v, -e))).double().mean())


def closeness(value: Tensor, wanted: Tensor) -> Closeness:
    """Of `value` to `wanted` (float64); NaN where the latter is zero."""
    value = value.double()
    size = wanted.norm()
    return Closeness(float((value - wanted).norm() / size), float((value * wanted).sum() / (value.norm() * size)))


def _same(theta: Theta) -> Theta:
    return theta
