"""Tiles of a product: the same lists as a stable sort of the whole product, whatever the tiles, ties and masks."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_topk import by_full_sort

from bifair_dist.evaluation import scan
from bifair_dist.evaluation.scan import product_topk

NOTHING = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


def factors(seed, rows, n, levels, width=3, dtype=torch.float32):
    """Small integers, so that many scores are equal and all are exact."""
    rng = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(-levels, levels + 1, (m, width), generator=rng).to(dtype) for m in (rows, n))
    return a, b


def whole(a, b, k, masked=NOTHING):
    scores = a @ b.T
    scores[masked] = -torch.inf
    return by_full_sort(scores, k)


@given(st.integers(0, 10**6), st.integers(0, 9), st.integers(1, 150), st.integers(1, 25), st.sampled_from([1, 3, 50]),
       st.sampled_from([0.0, 0.3, 0.97, 1.0]), st.sampled_from([(4, 20), (32, 64), (5, 300)]),
       st.sampled_from([torch.float32, torch.float64]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_against_a_sort_of_the_whole_product(seed, rows, n, k, levels, share, tile, dtype):
    a, b = factors(seed, rows, n, levels, dtype=dtype)
    masked = (torch.rand(rows, n, generator=torch.Generator().manual_seed(seed + 1)) < share).nonzero(as_tuple=True)
    with mock.patch.multiple(scan, CHUNK=tile[0], ITEMS=tile[1], TILE=2 * tile[1]):
        values, index = product_topk(a, b, k, masked)
    expected_values, expected_index = whole(a, b, k, masked)
    assert torch.equal(index, expected_index) and torch.equal(values, expected_values)
    assert values.dtype == torch.float32 and index.dtype == torch.int64


def test_best_items_last_and_first():
    n, k = 500, 7
    for order in (torch.arange(n), torch.arange(n).flip(0)):  # every tile beats the ones before, or none does
        b = order.to(torch.float32)[:, None]
        with mock.patch.multiple(scan, ITEMS=64, TILE=128):
            values, index = product_topk(torch.ones(3, 1), b, k, NOTHING)
        assert values.tolist() == [[float(n - 1 - i) for i in range(k)]] * 3
        assert torch.equal(order[index], torch.arange(n - 1, n - 1 - k, -1).expand(3, -1))


def test_all_scores_equal():
    _, index = product_topk(torch.ones(2, 1), torch.zeros(10_000, 1), 20, NOTHING)
    assert torch.equal(index, torch.arange(20).expand(2, -1))


def test_few_items_left_of_many():
    row, column = torch.ones(2, 9_000, dtype=torch.bool).nonzero(as_tuple=True)
    left = (row == 0) & ((column == 0) | (column == 4_500) | (column == 8_999))
    _, index = product_topk(torch.ones(2, 1), torch.ones(9_000, 1), 5, (row[~left], column[~left]))
    assert index.tolist() == [[0, 4_500, 8_999, -1, -1], [-1] * 5]


@pytest.mark.parametrize("place", [0, 4_000, 9_998])
def test_nan_is_an_error(place):
    b = torch.zeros(9_999, 1)
    b[place] = torch.nan
    with pytest.raises(ValueError, match="nan"):
        product_topk(torch.ones(1, 1), b, 5, NOTHING)


def test_no_items():
    values, index = product_topk(torch.ones(2, 3), torch.ones(0, 3), 4, NOTHING)
    assert index.tolist() == [[-1] * 4] * 2 and bool((values == -torch.inf).all())


def test_equals_are_not_all_looked_into():
    """A user without a vector scores every item alike; the lists are the first items, and few entries are collected."""
    seen = []
    merge = scan._Best.merge

    def watched(best):
        seen.append(sum(len(row) for row, _, _ in best._new))
        merge(best)

    with mock.patch.object(scan._Best, "merge", watched):
        _, index = product_topk(torch.zeros(3, 2), torch.ones(4_096, 2), 20, NOTHING)
    assert torch.equal(index, torch.arange(20).expand(3, -1))
    assert sum(seen) <= 3 * 20 * scan.CHUNK
