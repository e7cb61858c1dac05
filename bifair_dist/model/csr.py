"""Compressed rows: for each of R rows a list of column indices, without a Python loop anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Csr:
    """indptr int64 [R + 1] and the columns int64 [E] of all rows, ascending within a row."""

    indptr: Tensor
    columns: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, n_rows: int) -> Csr:
        """From pairs (row[e], column[e]), int64 [E], in any order."""
        order = torch.argsort(column, stable=True)
        order = order[torch.argsort(row[order], stable=True)]
        indptr = torch.zeros(n_rows + 1, dtype=torch.int64)
        indptr[1:] = torch.bincount(row, minlength=n_rows).cumsum(0)
        return cls(indptr, column[order])

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(position in `rows`, column) of every entry of the rows asked for, int64 [M] each, in order."""
        counts = self.indptr[rows + 1] - self.indptr[rows]
        position = torch.repeat_interleave(torch.arange(rows.numel()), counts)
        first = torch.repeat_interleave(self.indptr[rows] - (counts.cumsum(0) - counts), counts)
        return position, self.columns[first + torch.arange(position.numel())]
