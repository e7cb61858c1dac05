"""Inverse propensity scores against their formula, one positive at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bifair_dist.bilevel.weights.items import ItemBalance
from bifair_dist.bilevel.weights.rules.ips import Ips
from bifair_dist.model.batch import Batch
from bifair_dist.parallel.sampler import slices_of

COUNTS = torch.tensor([100, 1, 25, 0, 4])
POSITIVES = torch.tensor([0, 2, 2, 4, 1, 0, 0])


def batch(rank: int = 0, workers: int = 1) -> Batch:
    slices = slices_of(len(POSITIVES), workers)
    return Batch(torch.zeros_like(POSITIVES), POSITIVES, torch.arange(3), None, slices, rank)


def balance(counts: Tensor, power: float, strength: float) -> ItemBalance:
    return ItemBalance(Ips(ips_power=power).item_weights(counts), strength)


def slow(power: float, strength: float) -> Tensor:
    inverse = [1.0 / (float(COUNTS[i]) / 100.0) ** power for i in POSITIVES]
    return torch.tensor([(1 - strength) / 7 + strength * x / sum(inverse) for x in inverse], dtype=torch.float64)


@pytest.mark.parametrize(("power", "strength"), [(0.5, 1.0), (1.0, 0.4), (0.0, 1.0), (0.5, 0.0)])
def test_coefficients(power: float, strength: float) -> None:
    ips = balance(COUNTS, power, strength)
    assert torch.allclose(ips.coefficients(batch()), slow(power, strength), rtol=1e-14)
    if power == 0 or strength == 0:  # the plain mean
        assert torch.allclose(ips.coefficients(batch()), torch.full((7,), 1 / 7, dtype=torch.float64), rtol=1e-14)


def test_known_answer() -> None:
    """Power 1/2: an item with a quarter of the most popular one's positives counts twice as much."""
    assert Ips(ips_power=0.5).item_weights(COUNTS).tolist() == pytest.approx([1, 10, 2, 10, 5])


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_slices_of_workers_are_the_whole(workers: int) -> None:
    ips = balance(COUNTS, 0.5, 0.7)
    parts = [ips.coefficients(batch(rank, workers)) for rank in range(workers)]
    assert torch.equal(torch.cat(parts), ips.coefficients(batch()))


def test_expected_loss_is_that_of_items_seen_alike() -> None:
    """Over all positives, item by item, weights of power 1 undo popularity: each item counts the same."""
    counts = torch.tensor([8, 2, 4])
    positives = torch.repeat_interleave(torch.arange(3), counts)
    whole = Batch(torch.zeros_like(positives), positives, torch.arange(3), None, ((0, 14),), 0)
    a = balance(counts, 1.0, 1.0).coefficients(whole)
    per_item = torch.zeros(3, dtype=torch.float64).index_add(0, positives, a)
    assert per_item.tolist() == pytest.approx([1 / 3] * 3)
