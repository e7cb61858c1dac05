"""Permutations and draws by key: bijective for every size, uniform, and the same for any part that is asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.parallel.keyed import drawn, key_of, permuted


@given(n=st.integers(1, 700), key=st.integers(0, 2**64 - 1))
def test_every_number_comes_exactly_once(n: int, key: int) -> None:
    assert torch.equal(permuted(torch.arange(n), n, key).sort().values, torch.arange(n))


@pytest.mark.parametrize("n", [4095, 4096, 4097, 5000, 8192, 20_001])
def test_every_number_comes_exactly_once_in_a_large_set(n: int) -> None:
    assert torch.equal(permuted(torch.arange(n), n, key_of(n)).sort().values, torch.arange(n))


def test_a_part_is_that_part_of_the_whole() -> None:
    whole = permuted(torch.arange(1000), 1000, 5)
    some = torch.tensor([999, 3, 500, 4])
    assert torch.equal(permuted(some, 1000, 5), whole[some])
    big = permuted(torch.arange(100), 10**12, 5)
    assert (
        big.unique().numel() == 100 and int(big.min()) >= 0 and int(big.max()) < 10**12 and int(big.max()) > 9 * 10**11
    )


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_every_order_of_a_few_is_as_likely(n: int) -> None:
    orders = [tuple(permuted(torch.arange(n), n, key_of(n, i)).tolist()) for i in range(6000)]
    counts = torch.tensor([orders.count(o) for o in sorted(set(orders))], dtype=torch.float64)
    possible = torch.arange(1, n + 1).prod()
    assert len(counts) == possible
    chi = float(((counts - 6000 / possible) ** 2 / (6000 / possible)).sum())
    assert chi < float(possible + 5 * (2 * possible) ** 0.5)


def test_neighbours_end_up_anywhere() -> None:
    """The first 64 of 10,000 under 500 keys: each tenth of the range has its share, and neighbours are not related."""
    first = torch.stack([permuted(torch.arange(64), 10_000, key_of("k", i)) for i in range(500)])
    counts = torch.bincount((first // 1000).reshape(-1), minlength=10).double()
    assert float(((counts - 3200) ** 2 / 3200).sum()) < 27.9  # 9 degrees of freedom, p = .001
    a, b = first[:, :-1].double().reshape(-1), first[:, 1:].double().reshape(-1)
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.03


def test_draws_stay_below_their_bounds_and_reach_all_of_them() -> None:
    rows, bounds = torch.arange(3000), torch.arange(3000) % 7
    got = drawn(rows, 3, bounds, 11)
    assert got.shape == (3000, 3) and bool((got < bounds.clamp(min=1).unsqueeze(1)).all())
    counts = torch.bincount(got[bounds == 6].reshape(-1), minlength=6).double()
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 20.5
    assert torch.equal(drawn(rows[5:9], 3, bounds[5:9], 11), got[5:9])
    assert not torch.equal(drawn(rows, 3, bounds, 12), got)
