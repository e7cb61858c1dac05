"""Random group losses and Gram matrices, of the kinds training meets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifair_dist.bilevel.weights.rule import RuleContext

KINDS = ("independent", "alike", "dominated", "low_rank")


def problem(seed: int, n: int, kind: str, low: float = 2.0, high: float = 6.0) -> tuple[NDArray, NDArray]:
    """Losses [n] in [low, high] and the Gram matrix of n random gradients."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(n, 50))
    if kind == "alike":
        jacobian += 2.0 * rng.normal(size=50)
    if kind == "dominated":
        jacobian[rng.integers(n)] *= 10.0
    if kind == "low_rank":
        jacobian = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 50))
    return rng.uniform(low, high, n), jacobian @ jacobian.T


def context(n: int, previous: Tensor | None = None) -> RuleContext:
    """A context with unequal groups."""
    return RuleContext(
        counts=torch.arange(1, n + 1, dtype=torch.float64),
        catalogue_sizes=torch.arange(n, 0, -1, dtype=torch.float64),
        previous=torch.full((n,), 1.0 / n, dtype=torch.float64) if previous is None else previous,
        streamed=torch.linspace(2.0, 6.0, n, dtype=torch.float64),
    )
