"""Which groups training balances, from the text of `--balance.group`.

    genre                        the groups of one table
    genre,popularity             several tables: the groups of all of them, side by side
    genre*popularity             their crossing: one group for each pair of groups that an item (or user) is in at once
    genre*popularity,provider    both

Fairness to one table can be bought with another's: balancing genre alone may send unpopular items to zero. Side by
side, the weights see both; the crossing also sees who is badly served in one genre only where unpopular.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from bifair_dist.errors import UserError

if TYPE_CHECKING:
    from bifair_dist.data.dataset import GroupTable


def table_names(group: str) -> tuple[str, ...]:
    """Every table that the text names, in its order; also those of a crossing, each by itself."""
    return tuple(dict.fromkeys(name for term in _terms(group) for name in term))


def check_known(group: str, groups: Mapping[str, object], place: str) -> None:
    """Raise `UserError` for a text that is not understood, and for a table not among `groups`, the dataset's."""
    terms = _terms(group)
    if not all(name for term in terms for name in term):
        raise UserError(f"balance.group: {group!r} lacks a name; write genre, genre,popularity or genre*popularity")
    if len(set(terms)) < len(terms) or any(len(set(term)) < len(term) for term in terms):
        raise UserError(f"balance.group: {group!r} names something twice")
    for name in table_names(group):
        if name not in groups:
            known = ", ".join(groups) or "none"
            raise UserError(f"balance.group: {place} has no group table {name!r}; it has: {known}")


def balanced_tables(group: str, groups: Mapping[str, GroupTable]) -> list[GroupTable]:
    """The tables whose groups are balanced, crossings made. Raises `UserError` for one of items with one of users."""
    return [reduce(_cross, (groups[name] for name in term)) for term in _terms(group)]


def most_groups(group: str, sizes: Mapping[str, int]) -> int:
    """How many groups there are, from the number in each table; in a crossing at most, since not all pairs meet."""
    return sum(prod(sizes[name] for name in term) for term in _terms(group))


def group_labels(tables: Sequence[GroupTable]) -> tuple[str, ...]:
    """A label for each balanced group; with its table's name where there are several tables."""
    return tuple(f"{t.name}: {label}" if len(tables) > 1 else label for t in tables for label in t.labels)


def _terms(group: str) -> list[tuple[str, ...]]:
    return [tuple(name.strip() for name in term.split("*")) for term in group.split(",")]


def _cross(a: GroupTable, b: GroupTable) -> GroupTable:
    """The pairs of groups that some entity is in, in the order of `a`'s groups, then `b`'s."""
    if a.entity != b.entity:
        raise UserError(
            f"balance.group: {a.name} is of {a.entity}s and {b.name} of {b.entity}s; write {a.name},{b.name}"
        )
    starts, counts = (np.searchsorted(b.entity_index, a.entity_index, side) for side in ("left", "right"))
    counts = counts - starts
    mine = np.repeat(np.arange(len(a.entity_index)), counts)
    theirs = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    pair = a.group_index[mine] * len(b.labels) + b.group_index[theirs]
    found, group = np.unique(pair, return_inverse=True)
    labels = tuple(f"{a.labels[p // len(b.labels)]} x {b.labels[p % len(b.labels)]}" for p in found)
    order = np.lexsort((group, a.entity_index[mine]))
    return replace(
        a, name=f"{a.name}*{b.name}", labels=labels, entity_index=a.entity_index[mine][order], group_index=group[order]
    )
