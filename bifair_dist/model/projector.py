"""The projector g_theta that maps item representations into the recommendation space (AlphaRec, arXiv 2407.05441).

    first(Z)  = Z W1^T             rows x h  (linear: a mean may be taken on either side)
    second(H) = LeakyReLU_0.01(H + b1) W2^T + b2     rows x k

The `linear` variant is Z W^T without bias. Parameters travel as a plain dict, because the bi-level step evaluates the
same function at theta, theta', theta+ and theta-.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.labels import labelled

SLOPE = 0.01
"""Of the LeakyReLU below zero."""
Theta = dict[str, Tensor]
"""Projector parameters by name: w1 [h, d], b1 [h], w2 [k, h], b2 [k]; or w1 [k, d] alone for the linear variant."""


def init_theta(d: int, hidden: int, k: int, kind: str, seed: int, dtype: torch.dtype = torch.float32) -> Theta:
    """Parameters drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of a linear layer.

    Drawn in float64 on the CPU and then cast, so that the start does not depend on device, dtype or worker count.
    `kind` is "mlp" or "linear".
    """
    rng = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, fan_in: int) -> Tensor:
        return ((torch.rand(*shape, generator=rng, dtype=torch.float64) * 2 - 1) / fan_in**0.5).to(dtype)

    if kind == "linear":
        return {"w1": uniform(k, d, fan_in=d)}
    return {
        "w1": uniform(hidden, d, fan_in=d),
        "b1": uniform(hidden, fan_in=d),
        "w2": uniform(k, hidden, fan_in=hidden),
        "b2": uniform(k, fan_in=hidden),
    }


@labelled("projection")
def first(theta: Theta, z: Tensor) -> Tensor:
    """Linear part: [rows, d] -> [rows, h] (or [rows, k] for the linear variant), in the dtype of `z` under autocast."""
    return (z @ theta["w1"].T).to(z.dtype)


@labelled("projection")
def second(theta: Theta, h: Tensor) -> Tensor:
    """The rest: [rows, h] -> [rows, k]; the identity for the linear variant.

    `h` is overwritten (the widest tensors of a pass are these), so it is for the caller to be done with it.
    """
    if "w2" not in theta:
        return h
    b1, w2, b2 = theta["b1"], theta["w2"], theta["b2"]
    if torch.is_autocast_enabled(h.device.type):  # leaves to autocast how the products are differentiated
        return torch.addmm(b2, F.leaky_relu_(h.add_(b1), SLOPE), w2.T).to(h.dtype)
    out: Tensor = SecondLayer.apply(h, b1, w2, b2)[0]
    return out


class SecondLayer(torch.autograd.Function):
    """LeakyReLU(H + b1) W2^T + b2 in the memory of H, and its gradient by H in one matrix of that size, not in two."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [rows, k], and H, which now holds the activations."""
        F.leaky_relu_(h.add_(b1), SLOPE)
        ctx.mark_dirty(h)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, w2)
        return torch.addmm(b2, h, w2.T), h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """By H, b1, W2, b2. The activations have a gradient where that of W2 is differentiated once more."""
        active, w2 = ctx.saved_tensors
        g, g_active = grads
        _, b1, by_w2, b2 = ctx.needs_input_grad
        g_h = g_active if g is None else torch.matmul(g, w2) if g_active is None else torch.addmm(g_active, g, w2)
        assert g_h is not None
        if torch.is_grad_enabled():
            g_h = torch.where(active > 0, g_h, SLOPE * g_h)
        else:
            g_h = g_h.clone() if g is None else g_h  # not in the memory of a gradient that came in
            torch.ops.aten.leaky_relu_backward.grad_input(g_h, active, SLOPE, True, grad_input=g_h)
        by_b1 = g_h.sum(0) if b1 else None
        if g is None:
            return g_h, by_b1, None, None
        return g_h, by_b1, g.T @ active if by_w2 else None, g.sum(0) if b2 else None


def widths(theta: Theta) -> tuple[int, int, int]:
    """(d, width after the first layer, k)."""
    h, d = theta["w1"].shape
    return d, h, theta["w2"].shape[0] if "w2" in theta else h
