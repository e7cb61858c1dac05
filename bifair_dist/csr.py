"""Compressed rows: for each of R rows a list of columns (a user's items, an item's groups), without a Python loop."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1 << 25
"""Entries that are looked at or sorted at a time where all of them at once would need several times their memory."""


@dataclass(frozen=True, slots=True)
class Csr:
    """Row r holds `columns[indptr[r]:indptr[r + 1]]`, ascending and without duplicates.

    `indptr` int64 [R + 1], `columns` int64 [E]; both int32 where they are another's, such as a graph's.
    """

    indptr: Tensor
    columns: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, n_rows: int) -> Csr:
        """From pairs (row[e], column[e]), int64 [M], in any order; duplicates are dropped."""
        row, column = row.long(), column.long()
        width = int(column.max()) + 1 if column.numel() else 1
        pairs = torch.unique(row * width + column)
        return cls(_offsets(torch.bincount(pairs // width, minlength=n_rows)), pairs % width)

    @classmethod
    def over(cls, row: Tensor, column: Tensor, n_rows: int) -> Csr:
        """As `of`, but `column` itself where the pairs are ascending and distinct already: nothing is copied."""
        if not ascending(row, column):
            return cls.of(row, column, n_rows)
        starts = torch.arange(n_rows + 1, dtype=row.dtype, device=row.device)
        return cls(torch.searchsorted(row.contiguous(), starts), column)

    def transposed(self, n_columns: int) -> Csr:
        """For each of `n_columns` columns the rows that hold it, in the format of `columns`; made `BLOCK` at a time."""
        columns, counts = self.columns, torch.zeros(n_columns, dtype=torch.int64, device=self.columns.device)
        for part in columns.split(BLOCK):
            counts += torch.bincount(part, minlength=n_columns)
        indptr, found = _offsets(counts), torch.empty_like(columns)
        # Columns in groups of about `BLOCK` entries; of each group the entries in order of their rows, then by column.
        marks = torch.arange(0, columns.numel(), BLOCK, device=columns.device)
        bounds = [*torch.searchsorted(indptr, marks, right=True).sub(1).tolist(), n_columns] if len(marks) else []
        for first, last in itertools.pairwise(dict.fromkeys(bounds)):
            at = torch.cat(
                [
                    ((part >= first) & (part < last)).nonzero().squeeze(1) + number * BLOCK
                    for number, part in enumerate(columns.split(BLOCK))
                ]
            )
            rows = torch.searchsorted(self.indptr, at.to(self.indptr.dtype), right=True).sub_(1)
            order = torch.argsort(columns[at], stable=True)
            found[int(indptr[first]) : int(indptr[last])] = rows[order].to(found.dtype)
        return Csr(indptr, found)

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
        return position, self.columns[first[position] + within].long()


def ascending(row: Tensor, column: Tensor) -> bool:
    """Whether the pairs (row[e], column[e]) are in ascending order and distinct."""
    for start in range(0, row.numel() - 1, BLOCK):
        r, c = row[start : start + BLOCK + 1], column[start : start + BLOCK + 1]
        if not bool(((r[1:] > r[:-1]) | ((r[1:] == r[:-1]) & (c[1:] > c[:-1]))).all()):
            return False
    return True


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
