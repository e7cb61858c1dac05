"""Compressed rows: for each of R rows a list of columns (a user's items, an item's groups), without a Python loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Csr:
    """Row r holds `columns[indptr[r]:indptr[r + 1]]`, ascending and without duplicates.

    `indptr` int64 [R + 1], `columns` int64 [E].
    """

    indptr: Tensor
    columns: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, n_rows: int) -> Csr:
        """From pairs (row[e], column[e]), int64 [M], in any order; duplicates are dropped."""
        width = int(column.max()) + 1 if column.numel() else 1
        pairs = torch.unique(row * width + column)
        return cls(_offsets(torch.bincount(pairs // width, minlength=n_rows)), pairs % width)

    def transposed(self, n_columns: int) -> Csr:
        """For each of `n_columns` columns the rows that hold it."""
        order = torch.argsort(self.columns, stable=True)
        rows = torch.repeat_interleave(torch.arange(self.indptr.numel() - 1), self.counts())
        return Csr(_offsets(torch.bincount(self.columns, minlength=n_columns)), rows[order])

    def to(self, device: torch.device | str) -> Csr:
        """The same on another device."""
        return Csr(self.indptr.to(device), self.columns.to(device))

    def counts(self) -> Tensor:
        """Length of each row, int64 [R]."""
        return self.indptr.diff()

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(position in `rows`, column) of every entry of the rows asked for, int64 [M] each, in order."""
        first = self.indptr[rows]
        counts = self.indptr[rows + 1] - first
        position = torch.repeat_interleave(torch.arange(rows.numel(), device=rows.device), counts)
        within = torch.arange(position.numel(), device=rows.device) - _offsets(counts)[position]
        return position, self.columns[first[position] + within]


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
