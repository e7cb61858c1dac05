"""Folds of the training pairs: even, stratified, complete, and the same for every worker."""

from __future__ import annotations

import pytest
import torch

from bifair_dist.bilevel.fold import deal, strata_of
from bifair_dist.csr import Csr


@pytest.mark.parametrize("folds", [2, 7, 10])
def test_folds_and_their_strata_are_even_to_one_pair(folds: int) -> None:
    strata = torch.randint(5, (997,), generator=torch.Generator().manual_seed(1))
    fold = deal(strata, folds, torch.Generator().manual_seed(2))
    for pairs in (fold, *(fold[strata == s] for s in range(5))):
        sizes = torch.bincount(pairs, minlength=folds)
        assert sizes.numel() == folds and int(sizes.max() - sizes.min()) <= 1


def test_a_deal_follows_its_generator_alone() -> None:
    strata = torch.zeros(1000, dtype=torch.int64)
    one, same, other = (deal(strata, 10, torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert 50 < int((one == other).sum()) < 150  # a tenth agree by chance


def test_a_deal_mixes_pairs_of_a_stratum() -> None:
    """Pairs are sorted by user: dealt in that order, the pairs of a user would never meet in a fold."""
    fold = deal(torch.zeros(1000, dtype=torch.int64), 10, torch.Generator().manual_seed(0))
    assert (fold[:10].unique().numel()) < 10


def test_entities_with_the_same_groups_share_a_stratum() -> None:
    groups = Csr.of(torch.tensor([0, 0, 1, 1, 2, 4]), torch.tensor([0, 2, 2, 0, 2, 1]), 5)
    strata = strata_of(groups, torch.tensor([0, 1, 2, 3, 4, 3]))
    assert strata[0] == strata[1] and strata[3] == strata[5]
    assert strata[[0, 2, 3, 4]].unique().numel() == 4
