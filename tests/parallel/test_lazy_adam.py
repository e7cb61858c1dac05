"""Lazy Adam: Adam itself where all rows are touched; elsewhere each row as an Adam of its own."""

from __future__ import annotations

import pytest
import torch

from bifair_dist.parallel.lazy_adam import LazyAdam


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_adam_where_every_step_touches_every_row(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(7, 3, generator=rng, dtype=torch.float64).to(dtype)
    dense, lazy = first.clone().requires_grad_(), first.clone()
    adam, own = torch.optim.Adam([dense], 0.03), LazyAdam(lazy, 0.03)
    for _ in range(30):
        gradient = torch.randn(7, 3, generator=rng, dtype=torch.float64).to(dtype)
        order = torch.randperm(7, generator=rng)
        dense.grad = gradient
        adam.step()
        own.take(order).grad = gradient[order]
        own.step()
    assert float((lazy - dense.detach()).abs().max()) < (1e-13 if dtype == torch.float64 else 1e-5)


def test_each_row_is_an_adam_of_its_own() -> None:
    rng = torch.Generator().manual_seed(1)
    first = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    table = first.clone()
    lazy = LazyAdam(table, 0.1)
    rows = [first[r : r + 1].clone().requires_grad_() for r in range(6)]
    alone = [torch.optim.Adam([row], 0.1) for row in rows]
    for step in range(25):
        touched = torch.tensor([r for r in range(6) if step % (r + 1) == 0])  # row 5 moves in every sixth step
        before = table.clone()
        gradient = torch.randn(len(touched), 4, generator=rng, dtype=torch.float64)
        lazy.take(touched).grad = gradient
        lazy.step()
        for g, r in zip(gradient, touched.tolist(), strict=True):
            rows[r].grad = g.unsqueeze(0).clone()
            alone[r].step()
        rest = torch.ones(6, dtype=torch.bool)
        rest[touched] = False
        assert torch.equal(table[rest], before[rest])
    assert float((table - torch.cat(rows).detach()).abs().max()) < 1e-13
