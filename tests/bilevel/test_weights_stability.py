"""Weights may not jump where losses and Gram matrix move by rounding: that is all that another worker count changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.bilevel.weights.rule import RuleContext


@pytest.mark.parametrize("share", [0.0, 3.0])
@pytest.mark.parametrize("rule", ["entropy", "entropy_mgda"])
def test_rounding_does_not_decide(rule: str, share: float) -> None:
    """Gradients that are independent, and gradients with a common direction (an ill-conditioned Gram matrix)."""
    solve: Any = make_rule(rule)
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(2, 10))
        losses = rng.uniform(2, 6, n)
        rows = rng.standard_normal((n, n + 2)) + share * rng.standard_normal(n + 2)
        gram, noise = rows @ rows.T, rng.standard_normal((n, n)) * 1e-15
        context = RuleContext(torch.ones(n), torch.ones(n), torch.full((n,), 1 / n), torch.zeros(n))
        weights = solve(torch.from_numpy(losses), torch.from_numpy(gram), context)
        bumped = solve(
            torch.from_numpy(losses * (1 + noise[0])), torch.from_numpy(gram * (1 + noise + noise.T)), context
        )
        assert float((weights - bumped).norm()) < 1e-10
