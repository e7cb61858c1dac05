"""Benjamini-Hochberg: the example of their paper, its properties, and p-values of known replicates."""

from __future__ import annotations

import math

import pytest
import torch

from bifair_dist.evaluation.many_comparisons import benjamini_hochberg, p_value

PAPER = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0]  # fmt: skip
"""Section 4 of the paper: 15 hypotheses on heart attacks; four are rejected at 0.05, three by Bonferroni."""


def test_the_example_of_the_paper() -> None:
    assert benjamini_hochberg(PAPER, 0.05) == [True] * 4 + [False] * 11


def test_order_and_missing_ones_do_not_matter() -> None:
    turned = [math.nan, *reversed(PAPER), math.nan]
    assert benjamini_hochberg(turned, 0.05) == [False, *[False] * 11, *[True] * 4, False]
    assert benjamini_hochberg([]) == [] and benjamini_hochberg([math.nan]) == [False]


def test_a_larger_p_may_carry_smaller_ones_over_their_own_bound() -> None:
    # 0.04 > 1/3 * 0.05 alone, but the third, 0.05 <= 3/3 * 0.05, takes all before it along.
    assert benjamini_hochberg([0.04, 0.045, 0.05], 0.05) == [True] * 3
    assert benjamini_hochberg([0.04, 0.045, 0.051], 0.05) == [False] * 3


def test_of_equal_methods_few_remain() -> None:
    """All differences are none in truth: in at most 5 % of families anything remains; uncorrected it is nearly all."""
    p = torch.rand(2000, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    corrected = sum(any(benjamini_hochberg(family)) for family in p) / len(p)
    assert 0.03 < corrected < 0.065
    assert sum(min(family) <= 0.05 for family in p) / len(p) > 0.9


def test_p_of_known_replicates() -> None:
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert p_value(draws + 1.959964) == pytest.approx(0.05, abs=0.002)
    assert p_value(-draws - 1.959964) == pytest.approx(0.05, abs=0.002)
    assert p_value(torch.zeros(9)) == 1.0 and p_value(torch.full((9,), -1.0)) == 0.0
    assert math.isnan(p_value(torch.tensor([1.0, torch.nan, torch.inf])))
