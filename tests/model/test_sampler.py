"""Batches are a pure function of (seed, stream, epoch, step), whatever the number of workers."""

from __future__ import annotations

from typing import Any

import dense_backbone as dense
import pytest
import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch
from bifair_dist.parallel.sampler import BatchSampler, counter_generator

P = dense.problem(8, n_users=13, n_items=17, edges=103)


def sampler(**changes: Any) -> BatchSampler:
    known = Csr.of(P.user, P.item, P.n_users)
    settings: dict[str, Any] = {"batch_size": 20, "negatives": 7, "shared": True, "known": known, "seed": 1}
    return BatchSampler(P.user, P.item, P.n_items, **(settings | changes))


def same(a: Batch, b: Batch) -> bool:
    names = ("users", "positives", "negatives")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


def codes(users: Tensor, items: Tensor) -> list[int]:
    return sorted((users * P.n_items + items).tolist())


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_has_every_pair_exactly_once(epoch: int) -> None:
    s = sampler()
    assert s.steps_per_epoch == 6
    batches = [s.batch(epoch, step) for step in range(6)]
    assert [b.size for b in batches] == [20] * 5 + [3]
    seen = codes(torch.cat([b.users for b in batches]), torch.cat([b.positives for b in batches]))
    assert seen == codes(P.user, P.item)


def test_epochs_differ_in_order_and_steps_in_negatives() -> None:
    s = sampler()
    assert not torch.equal(s.batch(0, 0).users, s.batch(1, 0).users)
    assert not torch.equal(s.batch(0, 0).negatives, s.batch(0, 1).negatives)
    assert not torch.equal(s.batch(0, 0).negatives, s.batch(1, 0).negatives)


@pytest.mark.parametrize("change", [{"seed": 2}, {"stream": "outer"}])
def test_seed_and_stream_matter(change: dict[str, Any]) -> None:
    assert not same(sampler().batch(0, 0), sampler(**change).batch(0, 0))


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_does_not_depend_on_what_was_asked_before(shared: bool) -> None:
    used = sampler(shared=shared)
    for epoch, step in ((3, 2), (0, 0), (3, 5), (0, 0), (2, 9)):
        torch.rand(3)  # nor on the global generator
        assert same(used.batch(epoch, step), sampler(shared=shared).batch(epoch, step))


def test_a_step_past_the_end_is_in_the_next_epoch() -> None:
    s = sampler()
    assert same(s.batch(2, 6), s.batch(3, 0)) and same(s.batch(2, 6 * 3 + 4), s.batch(5, 4))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
def test_workers_share_one_batch_and_cut_it(workers: int, shared: bool) -> None:
    alone = sampler(shared=shared)
    for step in (0, 5):  # the last has 3 examples
        whole = alone.batch(0, step)
        parts = [sampler(shared=shared, rank=r, workers=workers).batch(0, step) for r in range(workers)]
        assert all(same(p, whole) and p.slices == parts[0].slices for p in parts)
        assert [e for p in parts for e in range(p.start, p.stop)] == list(range(whole.size))
        masks = [p.masked for p in parts if p.masked is not None]
        assert whole.masked is not None and torch.equal(torch.cat(masks), whole.masked)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rank", [0, 2])
def test_mask_marks_the_items_that_the_user_knows(shared: bool, rank: int) -> None:
    known = {(int(u), int(i)) for u, i in zip(P.user, P.item, strict=True)}
    batch = sampler(shared=shared, rank=rank, workers=3).batch(0, 2)
    assert batch.masked is not None and batch.masked.any() and not batch.masked.all()
    for row, example in enumerate(range(batch.start, batch.stop)):
        negatives = batch.negatives if shared else batch.negatives[example]
        expected = [(int(batch.users[example]), int(j)) in known for j in negatives]
        assert batch.masked[row].tolist() == expected


@pytest.mark.parametrize("shared", [True, False])
def test_mask_of_users_who_know_nothing(shared: bool) -> None:
    nobody = Csr.of(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), P.n_users)
    batch = sampler(shared=shared, known=nobody).batch(0, 0)
    assert batch.masked is not None and batch.masked.shape == (20, 7) and not batch.masked.any()
    assert sampler(shared=shared, known=None).batch(0, 0).masked is None


def test_negatives_are_items_of_the_catalogue() -> None:
    s = sampler()
    pools = torch.stack([s.batch(e, 0).negatives for e in range(400)])
    assert all(pool.unique().numel() == 7 for pool in pools)  # a shared pool has no item twice
    own = torch.cat([sampler(shared=False).batch(e, 0).negatives.reshape(-1) for e in range(20)])
    for drawn in (pools.reshape(-1), own):
        counts = torch.bincount(drawn, minlength=P.n_items).double()
        assert len(counts) == P.n_items
        expected = drawn.numel() / P.n_items
        assert float(((counts - expected) ** 2 / expected).sum()) < 40  # chi square, 16 degrees: p < 0.001
    assert sampler(shared=False).batch(0, 0).negatives.shape == (20, 7)


def test_generator_is_the_same_everywhere() -> None:
    """Pinned values: a change here would change every run that is resumed or repeated."""
    assert torch.randint(1000, (4,), generator=counter_generator(1, "train", 0)).tolist() == [983, 69, 983, 268]
    assert counter_generator(1, "train", 0).initial_seed() != counter_generator(1, "train", 1).initial_seed()
