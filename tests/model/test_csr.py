"""Compressed rows: sorted pairs are not copied, and transposing in blocks is transposing at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bifair_dist import csr
from bifair_dist.csr import Csr, ascending
from bifair_dist.model.graph import build_graph

ROWS, COLUMNS = 40, 25


def pairs(n: int = 300) -> tuple[Tensor, Tensor]:
    """Sorted and distinct, int32; some rows and columns have none."""
    keys = torch.randint(ROWS * COLUMNS, (n,), generator=torch.Generator().manual_seed(1)).unique()
    row, column = (keys // COLUMNS).int(), (keys % COLUMNS).int()
    kept = (row != 7) & (column != 0) & (column < COLUMNS - 2)
    return row[kept], column[kept]


def same(a: Csr, b: Csr) -> bool:
    return torch.equal(a.indptr.long(), b.indptr.long()) and torch.equal(a.columns.long(), b.columns.long())


def test_sorted_pairs_are_taken_as_they_are() -> None:
    row, column = pairs()
    found = Csr.over(row, column, ROWS)
    assert found.columns.data_ptr() == column.data_ptr() and same(found, Csr.of(row, column, ROWS))
    order = torch.randperm(len(row), generator=torch.Generator().manual_seed(2))
    assert same(Csr.over(row[order], column[order], ROWS), found)
    twice = torch.cat([row, row[-1:]]), torch.cat([column, column[-1:]])
    assert not ascending(*twice) and same(Csr.over(*twice, ROWS), found)
    assert same(Csr.over(row[:0], column[:0], ROWS), Csr.of(row[:0], column[:0], ROWS))


@pytest.mark.parametrize("block", [1, 7, 64, 10**6])
def test_transposed_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    row, column = pairs()
    monkeypatch.setattr(csr, "BLOCK", block)
    found = Csr.over(row, column, ROWS).transposed(COLUMNS)
    assert found.columns.dtype == torch.int32 and same(found, Csr.of(column, row, COLUMNS))
    assert ascending(row, column) and not ascending(row.flip(0), column.flip(0))
    none = Csr.over(row[:0], column[:0], ROWS).transposed(COLUMNS)
    assert none.columns.numel() == 0 and not none.indptr.any()


def test_a_graph_and_what_is_known_share_the_memory_of_the_pairs() -> None:
    row, column = pairs()
    graph = build_graph(row, column, ROWS, COLUMNS)
    assert graph.forward.col_indices().data_ptr() == column.data_ptr()
    for found, matrix in ((graph.items_of_users, graph.forward), (graph.users_of_items, graph.backward)):
        assert found.columns.data_ptr() == matrix.col_indices().data_ptr()
    rows, items = graph.items_of_users.expand(torch.tensor([3, 7, 3]))
    wanted = Csr.of(row, column, ROWS).expand(torch.tensor([3, 7, 3]))
    assert torch.equal(rows, wanted[0]) and torch.equal(items, wanted[1]) and items.dtype == torch.int64
