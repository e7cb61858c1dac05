"""k-core against the obvious slow loop, and the properties that define it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.data.kcore import k_core

PAIRS = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 9)), max_size=70)


def slow_k_core(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        kept = {(u, i) for u, i in pairs if users[u] >= k and items[i] >= k}
        if kept == pairs:
            return kept
        pairs = kept


@given(PAIRS, st.integers(1, 5))
def test_equals_the_slow_reference(pairs: set[tuple[int, int]], k: int) -> None:
    rows = sorted(pairs)
    user, item = (np.array([r[c] for r in rows], np.int32) for c in (0, 1))
    mask = k_core(user, item, k)
    assert {row for row, kept in zip(rows, mask, strict=True) if kept} == slow_k_core(pairs, k)


def test_a_chain_unravels_over_many_rounds() -> None:
    # User u is linked to items u and u + 1: each round takes off one end, until nothing is left.
    user = np.repeat(np.arange(50, dtype=np.int32), 2)
    item = user + np.tile(np.array([0, 1], np.int32), 50)
    assert not k_core(user, item, 2).any()
    # Closing the chain into a ring keeps everything.
    assert k_core(user, item % 50, 2).all()


def test_no_pairs() -> None:
    nothing = np.empty(0, np.int32)
    assert k_core(nothing, nothing, 3).shape == (0,)
