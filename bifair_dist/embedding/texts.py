"""The text of every item, from a template such as `{title} by {author}` over the columns of items.parquet."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from bifair_dist.errors import UserError


class Catalog(Protocol):
    """What the embedding needs of a dataset."""

    @property
    def folder(self) -> Path:
        """The dataset folder."""

    @property
    def item_ids(self) -> npt.NDArray[np.object_]:
        """Ids in index order."""

    @property
    def titles(self) -> npt.NDArray[np.object_]:
        """Titles in index order."""


def item_texts(dataset: Catalog, template: str) -> list[str]:
    """The filled template for every item, in index order; an empty cell gives no text, a list its parts with commas.

    Raises `UserError` for a template that cannot be read or names a column that items.parquet does not have.
    """
    columns = _columns(template)
    if columns == {"title"}:
        return [template.format(title=title) for title in dataset.titles]
    path = dataset.folder / "items.parquet"
    have = pq.read_schema(path).names
    for name in sorted(columns):
        if name not in have:
            raise UserError(f"data.template: {path} has no column {name!r}; it has {', '.join(have)}")
    table = pq.read_table(path, columns=sorted(columns))
    cells = {name: [_text(cell) for cell in table[name].to_pylist()] for name in table.column_names}
    return [template.format(**{n: cells[n][row] for n in cells}) for row in range(len(dataset.item_ids))]


def _columns(template: str) -> set[str]:
    try:
        fields = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UserError(f"data.template: {template!r} cannot be read: {error}") from None
    if not fields:
        raise UserError(f"data.template: {template!r} names no column; write one in braces, such as {{title}}")
    for name, spec, how in fields:
        if not name.isidentifier() or spec or how:
            raise UserError(f"data.template: {{{name}}} is not a plain column name in braces, such as {{title}}")
    return {name for name, _, _ in fields}


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return ", ".join(map(str, cell)) if isinstance(cell, (list, tuple)) else str(cell)
