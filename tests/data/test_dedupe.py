"""Duplicate pairs: which row stays, and that the order of the input does not matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.data.dedupe import drop_duplicates
from bifair_dist.data.raw import Pairs

ROW = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5), st.integers(0, 3), st.integers(0, 2))


def pairs_of(rows: list[tuple[int, ...]]) -> Pairs:
    c = np.array(rows, np.int64).reshape(-1, 5).T
    return Pairs(c[0].astype(np.int32), c[1].astype(np.int32), c[2].astype(np.float32), c[3], c[4].astype(np.int8))


@given(st.lists(ROW, max_size=40), st.randoms())
def test_keeps_earliest_part_then_latest_then_highest(rows: list[tuple[int, ...]], random: object) -> None:
    best: dict[tuple[int, int], tuple[int, ...]] = {}
    for row in rows:
        key = (row[0], row[1])
        if key not in best or (-row[4], row[3], row[2]) > (-best[key][4], best[key][3], best[key][2]):
            best[key] = row
    expected = [best[key] for key in sorted(best)]
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for order in (rows, shuffled):
        kept, dropped = drop_duplicates(pairs_of(order), 4)
        columns = (kept.user, kept.item, kept.rating, kept.timestamp, kept.part)
        assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected  # type: ignore[union-attr]
        assert dropped == len(rows) - len(expected)


def test_without_optional_columns() -> None:
    kept, dropped = drop_duplicates(Pairs(np.array([1, 0, 1], np.int32), np.array([2, 1, 2], np.int32)), 3)
    assert (kept.user.tolist(), kept.item.tolist(), dropped) == ([0, 1], [1, 2], 1)
