"""How rows, columns and batches are cut over workers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.model.batch import Batch
from bifair_dist.model.layout import Whole
from bifair_dist.parallel.comm import Comm, column_splits, row_range, shard_rows
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.sampler import slices_of

sizes = st.integers(1, 9)


@given(n=st.integers(0, 60), size=sizes)
def test_row_ranges_cut_all_rows_in_order(n: int, size: int) -> None:
    ranges = [row_range(n, size, rank) for rank in range(size)]
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(n))
    assert all(stop - start <= shard_rows(n, size) for start, stop in ranges)
    assert all(start == rank * shard_rows(n, size) for rank, (start, stop) in enumerate(ranges) if stop > start)


@given(width=st.integers(0, 60), size=sizes)
def test_column_splits_are_even(width: int, size: int) -> None:
    splits = column_splits(width, size)
    assert len(splits) == size and sum(splits) == width and max(splits) - min(splits) <= 1


@given(n=st.integers(0, 60), size=sizes)
def test_slices_cut_the_batch(n: int, size: int) -> None:
    slices = slices_of(n, size)
    assert [e for start, stop in slices for e in range(start, stop)] == list(range(n))
    lengths = [stop - start for start, stop in slices]
    assert len(slices) == size and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("shared", [True, False])
def test_one_worker_is_the_identity(shared: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    users, items = torch.randn(5, 4, generator=rng), torch.randn(7, 4, generator=rng)
    negatives = torch.tensor([6, 0]) if shared else torch.tensor([[6, 0], [1, 1], [2, 3]])
    batch = Batch(torch.tensor([4, 0, 4]), torch.tensor([1, 1, 6]), negatives, None, ((0, 3),))
    comm = Comm()
    one, whole = Sharded(comm), Whole()
    assert one.to_columns(items, 7, "t") is items and one.to_rows(items, 4, "t") is items
    for a, b in zip(one.batch_rows(users, items, 4, batch), whole.batch_rows(users, items, 4, batch), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one.batch_rows(users, items, 4, batch)[2], items[negatives])
    assert comm.all_gather(items, "t")[0] is items and not comm.sent


def test_all_reduce_gives_a_new_tensor() -> None:
    """Callers write into the result; the input may be a gradient that someone else still needs."""
    a = torch.ones(3)
    b = Comm().all_reduce_sum(a, "t")
    b.add_(1)
    assert torch.equal(a, torch.ones(3))
