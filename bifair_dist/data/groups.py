"""The small language of ``--groups``, and the tables it asks for.

    [NAME=]popularity[:quintiles|quartiles|equal_mass]      items by training count (default quintiles)
    [NAME=]genre[:COLUMN][:N[+rest]]                        items by the N largest values (default genres, 8)
    [NAME=]provider:COLUMN[:N[+rest]]                       items by the N largest values (default 10)
    [NAME=]user:COLUMN[:N[+rest]]                           users by a column of the users table (default all values)
    [NAME=]user:activity[:quintiles|quartiles|equal_mass]   users by training count (default quintiles)

NAME is the name of the table; left out it is popularity, genre, provider, or user_COLUMN. Genre, provider and user
columns may hold several values per cell (``a|b``, lists, ``a, b``). The largest values are those with the most training
interactions. ``+rest`` adds a group of all that have none of the N values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bifair_dist.data.dataset import GroupTable, Index
from bifair_dist.data.labels import label_groups
from bifair_dist.data.popularity import KINDS, count_groups
from bifair_dist.data.reading import Notes
from bifair_dist.errors import UserError, known_names

FORMS = ("popularity", "genre", "provider", "user")
_DEFAULT_TOP = {"genre": 8, "provider": 10, "user": None}
_TOP = re.compile(r"([1-9][0-9]*)(\+rest)?")


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One parsed specification. ``column`` None: by training count, cut as ``kind`` says."""

    name: str
    form: str
    column: str | None
    kind: str = "quintiles"
    top: int | None = None
    rest: bool = False


def parse_groups(specs: Sequence[str]) -> list[GroupSpec]:
    """Parse all specifications. Raises ``UserError`` for one that is not understood or for two tables of one name."""
    parsed = [parse_group(spec) for spec in specs]
    names = [spec.name for spec in parsed]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--groups: two tables named '{name}'; name one of them, as in other={name}:...")
    return parsed


def parse_group(spec: str) -> GroupSpec:
    """Parse one specification (grammar above). Raises ``UserError`` naming the nearest known word."""
    name, _, body = spec.rpartition("=")
    form, *parts = body.split(":")
    if form not in FORMS:
        raise UserError(f"--groups {spec}: unknown form '{form}'; {known_names(form, FORMS)}")
    by_count = form == "popularity" or (form == "user" and parts[:1] == ["activity"])
    if by_count:
        kind, *more = (parts if form == "popularity" else parts[1:]) or ["quintiles"]
        if kind not in KINDS or more:
            wrong = more[0] if more else kind
            raise UserError(f"--groups {spec}: unknown cut '{wrong}'; {known_names(wrong, KINDS)}")
        column, top, rest = None, None, False
    else:
        kind, top, rest = "quintiles", _DEFAULT_TOP[form], False
        if parts and (match := _TOP.fullmatch(parts[-1])):
            top, rest = int(match[1]), match[2] is not None
            parts = parts[:-1]
        if len(parts) > 1:
            raise UserError(f"--groups {spec}: '{parts[-1]}' is not understood; write {form}:COLUMN:N[+rest]")
        column = parts[0] if parts else ("genres" if form == "genre" else "")
        if not column:
            raise UserError(f"--groups {spec}: name the column, as in {form}:COLUMN")
    default = f"user_{column or 'activity'}" if form == "user" else form
    name = name or re.sub(r"[^\w.-]", "_", default)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"--groups {spec}: the name '{name}' must be made of letters, digits, '_', '-' and '.'")
    return GroupSpec(name, form, column, kind, top, rest)


def build_group(
    spec: GroupSpec,
    items: pa.Table,
    users: pa.Table,
    item_counts: Index,
    user_counts: Index,
    notes: Notes | None = None,
) -> GroupTable:
    """Make the table: ``items`` and ``users`` in index order, counts of training pairs per item and user (int64).

    Raises ``UserError`` for a column that is missing or empty throughout.
    """
    is_user = spec.form == "user"
    table, counts = (users, user_counts) if is_user else (items, item_counts)
    entity = "user" if is_user else "item"
    if spec.column is None:
        return count_groups(spec.name, "user" if is_user else "item", counts, spec.kind)
    column = require_column(table, spec.column, entity)
    result = label_groups(
        spec.name,
        "user" if is_user else "item",
        column,
        counts,
        top=spec.top,
        rest=spec.rest,
        notes=notes,
    )
    if notes is not None:
        without = len(column) - len(np.unique(result.entity_index))
        notes.say(f"groups '{spec.name}': column '{spec.column}'; {without:,} of {len(column):,} {entity}s are in none")
    if not result.labels or result.labels == ("rest",):
        raise UserError(f"--groups {spec.name}: column '{spec.column}' of the {entity}s is empty for every {entity}")
    return result


def require_column(table: pa.Table, column: str, entity: str) -> pa.ChunkedArray:
    """A column by name. Raises ``UserError`` naming the nearest one there is."""
    if column not in table.column_names:
        raise UserError(f"the {entity}s have no column '{column}'; {known_names(column, table.column_names)}")
    return table[column]
