"""The projector g_theta that maps item representations into the recommendation space (AlphaRec, arXiv 2407.05441).

    first(Z)  = Z W1^T             rows x h  (linear: a mean may be taken on either side)
    second(H) = LeakyReLU_0.01(H + b1) W2^T + b2     rows x k

The `linear` variant is Z W^T without bias. Parameters travel as a plain dict, because the bi-level step evaluates the
same function at theta, theta', theta+ and theta-.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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


def first(theta: Theta, z: Tensor) -> Tensor:
    """Linear part: [rows, d] -> [rows, h] (or [rows, k] for the linear variant), in the dtype of `z` under autocast."""
    return (z @ theta["w1"].T).to(z.dtype)


def second(theta: Theta, h: Tensor) -> Tensor:
    """The rest: [rows, h] -> [rows, k]; the identity for the linear variant.

    `h` is overwritten (the widest tensors of a pass are these), so it is for the caller to be done with it.
    """
    if "w2" not in theta:
        return h
    return torch.addmm(theta["b2"], F.leaky_relu_(h.add_(theta["b1"]), 0.01), theta["w2"].T).to(h.dtype)


def widths(theta: Theta) -> tuple[int, int, int]:
    """(d, width after the first layer, k)."""
    h, d = theta["w1"].shape
    return d, h, theta["w2"].shape[0] if "w2" in theta else h
