from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bifair_dist.evaluation.topk import merge, topk


def by_full_sort(scores, k):
    values, index = scores.to(torch.float32).sort(dim=1, descending=True, stable=True)
    values, index = values[:, :k], index[:, :k].clone()
    index[values == -torch.inf] = -1
    pad = k - values.shape[1]
    return (
        torch.nn.functional.pad(values, (0, max(pad, 0)), value=-torch.inf),
        torch.nn.functional.pad(index, (0, max(pad, 0)), value=-1),
    )


def tied_scores(seed, n_rows, n, levels, masked):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (n_rows, n), generator=rng).to(torch.float64)
    scores[torch.rand(n_rows, n, generator=rng) < masked] = -torch.inf
    return scores


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 25), st.sampled_from([1, 2, 5, 1000]),
       st.sampled_from([0.0, 0.3, 0.95, 1.0]))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_against_full_stable_sort(seed, n, k, levels, masked):
    scores = tied_scores(seed, 6, n, levels, masked)
    values, index = topk(scores, k)
    expected_values, expected_index = by_full_sort(scores, k)
    assert torch.equal(values, expected_values) and torch.equal(index, expected_index)
    assert values.dtype == torch.float32 and index.dtype == torch.int64


def test_wide_rows_with_few_levels():
    scores = tied_scores(1, 4, 20_000, 3, 0.1)
    for k in (1, 20, 500):
        assert torch.equal(topk(scores, k)[1], by_full_sort(scores, k)[1])


def test_long_rows_in_which_little_is_left():
    scores = torch.full((2, 5_003), -torch.inf)
    scores[0, [0, 1, 5_002]] = torch.tensor([1.0, 2.0, 2.0])  # fewer chunks than places; the last one is short
    values, index = topk(scores, 5)
    assert index.tolist() == [[1, 5_002, 0, -1, -1], [-1] * 5]
    assert values[0].tolist() == [2.0, 2.0, 1.0, -torch.inf, -torch.inf]


def test_nan_anywhere_in_a_long_row_is_an_error():
    for place in (0, 2_500, 5_002):
        scores = torch.zeros(1, 5_003)
        scores[0, place] = torch.nan
        with pytest.raises(ValueError, match="nan"):
            topk(scores, 5)


def test_scores_that_differ_below_float32_are_ties():
    scores = torch.tensor([[1.0, 1.0 + 1e-12, 1.0 - 1e-12, 0.5]], dtype=torch.float64)
    assert topk(scores, 3)[1].tolist() == [[0, 1, 2]]


def test_negative_zero_is_zero():
    assert topk(torch.tensor([[-0.0, 0.0, -0.0, 0.0, -1.0]]), 3)[1].tolist() == [[0, 1, 2]]


def test_input_is_left_alone():
    scores = torch.rand(3, 9)
    before = scores.clone()
    topk(scores, 4)
    assert torch.equal(scores, before)


def test_nan_is_an_error():
    with pytest.raises(ValueError, match="nan"):
        topk(torch.tensor([[0.0, torch.nan, 1.0]]), 1)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 10), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_merge_of_shards_is_topk_of_the_whole(seed, n, k, shards):
    scores = tied_scores(seed, 5, n, 4, 0.3)
    parts = []
    for columns in torch.arange(n).tensor_split(shards):
        if len(columns):
            values, index = topk(scores[:, columns], k)
            parts.append((values, torch.where(index < 0, index, index + columns[0])))
    parts = [parts[i] for i in torch.randperm(len(parts)).tolist()]  # the order of the shards must not matter
    values, index = merge(torch.cat([v for v, _ in parts], 1), torch.cat([i for _, i in parts], 1), k)
    whole = topk(scores, k)
    assert torch.equal(values, whole[0]) and torch.equal(index, whole[1])
