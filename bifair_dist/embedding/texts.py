"""The text of every item, from a template such as `{title} by {authors}. {description}` over columns of items.parquet.

An empty cell (null, NaN, only white space, a list without entries) takes the words and punctuation that belong to it
with it. What belongs to a cell is read from the template once; its literal text is cut up so:

- text before the first cell belongs to the first cell, text after the last cell to the last;
- brackets and quotes directly around a cell belong to it: in `{title} ({year})` the `(` and `)` to the year;
- what is left between two cells is cut into *suffix* of the earlier, *separator*, *label* of the later. The separator
  is the run of spaces and punctuation at its beginning, and the rest is label: `. Year: ` is `. ` and `Year: `. Where
  that run is only spaces, the words up to the first of `. , ; ! ? |` or a line's end are suffix (` pages. ` is
  ` pages`, `. `); where there is none of these, the words are label (` by ` is ` `, `by `).

A cell that is there is written with its label, brackets and suffix; between two that are there comes the separator
before the later one. So the template above gives `Toy Story. A film.` where there are no authors. With no empty cell
the result is the template, filled. White space at the ends of a cell is removed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.errors import UserError, nearest

BLOCK = 1 << 16  # rows filled at once: keeps the strings of a block far below the 2 GiB that one Arrow array holds
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">", '"': '"', "'": "'", "«": "»", "“": "”"}
_BREAK = re.compile(r"[.,;!?|](?=\W|$)|\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """One cell of the template with the literal text that comes and goes with it."""

    column: str
    separator: str  # between this piece and one before it, if there is one
    before: str  # label and opening brackets
    after: str  # closing brackets and suffix


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read: its text and the pieces in their order."""

    text: str
    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template. Raises `UserError` where it cannot be read or names no column."""
        literals, columns = [""], []
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UserError(f"template: {text!r} cannot be read: {error}") from None
        for literal, name, spec, how in fields:
            literals[-1] += literal  # `{{` ends a field of its own: two literals may follow each other
            if name is None:
                continue
            if not name.isidentifier() or spec or how:
                raise UserError(f"template: {{{name}}} is not a plain column name in braces, such as {{title}}")
            columns.append(name)
            literals.append("")
        if not columns:
            raise UserError(f"template: {text!r} names no column; write one in braces, such as {{title}}")
        return cls(text, _pieces(columns, literals))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it names, each once, in the order of their first mention."""
        return tuple(dict.fromkeys(piece.column for piece in self.pieces))

    def fill(self, table: pa.Table, prompt: str = "") -> list[str]:
        """The text of every row of a table that has `columns` (others are ignored), each with `prompt` before it.

        A table is filled in blocks, so that its size does not matter. Where it has `item_id`, errors name the item.
        Raises `UserError` for a missing column, one that is no text (such as a structure), and an item with no text.
        """
        _check_columns(self, table.schema, "the table")
        texts: list[str] = []
        names = [*self.columns, *(["item_id"] if "item_id" in table.column_names else [])]
        for block in table.select(list(dict.fromkeys(names))).to_batches(max_chunksize=BLOCK):
            texts += self._fill(block, prompt, len(texts))
        return texts

    def _fill(self, block: pa.RecordBatch, prompt: str, first_row: int) -> list[str]:
        cells = {name: _strings(block.column(name)) for name in self.columns}
        text = pa.repeat(pa.scalar("", pa.string()), block.num_rows)
        for piece in self.pieces:
            cell = cells[piece.column]
            there = pc.not_equal(cell, "")
            joined = pc.if_else(pc.not_equal(text, ""), piece.separator, "")
            longer = pc.binary_join_element_wise(text, joined, piece.before, cell, piece.after, "")
            text = pc.if_else(there, longer, text)
        empty = pc.equal(text, "")
        if pc.any(empty).as_py():
            raise UserError(_no_text(self, block, empty.to_numpy(zero_copy_only=False), first_row))
        filled: list[str] = (pc.binary_join_element_wise(prompt, text, "") if prompt else text).to_pylist()
        return filled


def check_template(items: str | Path, template: Template | str) -> Template:
    """The template, read and compared with the columns of items.parquet; only the file's schema is read.

    Raises `UserError` for a column that is not there, naming the nearest, or one that cannot be written as text.
    """
    parsed = Template.parse(template) if isinstance(template, str) else template
    try:
        schema = pq.read_schema(items)
    except FileNotFoundError:
        raise UserError(f"{items}: file is missing; prepare the dataset again") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{items}: cannot be read ({str(error).splitlines()[0]})") from error
    _check_columns(parsed, schema, str(items))
    return parsed


def _pieces(columns: Sequence[str], literals: Sequence[str]) -> tuple[Piece, ...]:
    """`literals[i]` stands before `columns[i]`, the last one after all."""
    before, after = list(literals[:-1]), [""] * len(columns)
    separators = [""] * len(columns)
    after[-1] = literals[-1]
    for i in range(len(columns)):
        following = before[i + 1] if i + 1 < len(columns) else after[i]
        depth = 0
        while depth < min(len(before[i]), len(following)):
            if _BRACKETS.get(before[i][-1 - depth]) != following[depth]:
                break
            depth += 1
        opening, closing = before[i][len(before[i]) - depth :], following[:depth]
        if i:
            # the closing brackets of the piece before were cut off already, so this is all of what is between
            suffix, separators[i], label = _between(before[i][: len(before[i]) - depth])
            after[i - 1] += suffix
            before[i] = label + opening
        if i + 1 < len(columns):
            after[i], before[i + 1] = closing, following[depth:]
    return tuple(Piece(*parts) for parts in zip(columns, separators, before, after, strict=True))


def _between(text: str) -> tuple[str, str, str]:
    """Suffix of the piece before, separator, label of the piece after."""
    run = re.match(r"[\W_]*", text)
    assert run is not None
    if run[0].strip() or run[0] == text:
        return "", run[0], text[run.end() :]
    mark = _BREAK.search(text)
    if mark is None:
        return "", run[0], text[run.end() :]
    separator = re.compile(r"[\W_]*").match(text, mark.start())
    assert separator is not None
    return text[: mark.start()], separator[0], text[separator.end() :]


def _strings(column: pa.Array) -> pa.StringArray:
    """Cells as text without white space at the ends, "" for an empty one; lists with commas."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_list(column.type):
        values = _strings(pc.list_flatten(column))
        parents = pc.list_parent_indices(column).to_numpy()
        there = pc.not_equal(values, "")
        counts = np.bincount(parents[there.to_numpy(zero_copy_only=False)], minlength=len(column))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        return pc.binary_join(pa.ListArray.from_arrays(offsets, values.filter(there)), ", ")
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), "")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType, depth: int = 0) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type, depth)
    if _is_list(kind):
        return depth == 0 and _is_text(kind.value_type, 1)
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_columns(template: Template, schema: pa.Schema, where: str) -> None:
    for name in template.columns:
        if name not in schema.names:
            near = nearest(name, schema.names, 0.5)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UserError(f"template: {where} has no column {name!r}; it has {', '.join(schema.names)}{hint}")
        kind = schema.field(name).type
        if not _is_text(kind):
            raise UserError(f"template: column {name!r} of {where} holds {kind}, which is no text; name another column")


def _no_text(template: Template, block: pa.RecordBatch, empty: npt.NDArray[np.bool_], first_row: int) -> str:
    row, count = int(np.argmax(empty)), int(empty.sum())
    named = "item_id" in block.schema.names
    item = f"item {str(block.column('item_id')[row])!r}" if named else f"row {first_row + row}"
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    columns = ", ".join(template.columns)
    return f"template: {item}{more} has no text, {columns} empty; fill items.parquet or name a further column"
