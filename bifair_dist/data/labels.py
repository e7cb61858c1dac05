"""Groups from a column (genres, providers, user attributes); several values in a cell: a member of several groups."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from bifair_dist.data.dataset import GroupTable, Index
from bifair_dist.data.reading import Notes
from bifair_dist.data.reading.lists import split_values

REST = "rest"


def label_groups(
    name: str,
    entity: Literal["item", "user"],
    column: pa.ChunkedArray | pa.Array,
    counts: Index,
    *,
    top: int | None,
    rest: bool,
    notes: Notes | None = None,
) -> GroupTable:
    """The ``top`` largest values of a column as groups (None: all); ``rest`` collects entities with none of them.

    How cells that hold several values are split is reported in ``notes`` (``reading.lists``).

    The size of a value is the training interactions of its members (``counts``, one number per entity), ties in order
    of label; labels run from large to small, ``rest`` last. Without ``rest`` such entities are in no group.
    """
    row, value = split_values(column, name, notes or Notes())
    coded = value.dictionary_encode()
    names = np.asarray(coded.dictionary.to_pylist(), dtype=object)
    code = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    mass = np.bincount(code, weights=counts[row], minlength=len(names)).astype(np.int64)
    chosen = np.lexsort((names.astype(str), -mass))[: len(names) if top is None else top]
    group_of = np.full(len(names), -1, np.int64)
    group_of[chosen] = np.arange(len(chosen))
    group = group_of[code]
    labels = [str(label) for label in names[chosen]]
    members, group = row[group >= 0], group[group >= 0]
    if rest:
        left = np.setdiff1d(np.arange(len(counts), dtype=np.int64), members)
        if len(left):
            where = labels.index(REST) if REST in labels else len(labels)
            labels += [REST] if where == len(labels) else []
            members, group = np.concatenate([members, left]), np.concatenate([group, np.full(len(left), where)])
    order = np.lexsort((group, members))
    return GroupTable(name, entity, tuple(labels), members[order], group[order])
