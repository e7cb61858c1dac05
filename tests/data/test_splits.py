"""Splits: partition, sizes per user, order in time, no dependence on the order of the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.data.raw import Codes
from bifair_dist.data.splits import leave_last_out, random_split, temporal_split, valid_from_train

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=25)


def users_of(lengths: list[int]) -> Codes:
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def sizes(user: Codes, part: np.ndarray, n: int) -> list[np.ndarray]:
    return [np.bincount(user[part == p], minlength=n) for p in range(3)]


def rounded(share: float, n: int) -> int:
    return int(np.floor(share * n + 0.5 + 1e-9))


@given(LENGTHS, st.integers(0, 3), st.sampled_from(["random", "temporal"]))
def test_seventy_ten_twenty_per_user(lengths: list[int], seed: int, kind: str) -> None:
    user = users_of(lengths)
    stamp = np.random.default_rng(seed).integers(0, 9, len(user))
    part = random_split(user, seed) if kind == "random" else temporal_split(user, stamp)
    assert set(np.unique(part)) <= {0, 1, 2}
    train, valid, test = sizes(user, part, len(lengths))
    assert valid.tolist() == [rounded(0.1, n) for n in lengths]
    assert test.tolist() == [rounded(0.2, n) for n in lengths]
    assert (train >= 1).all() and (train + valid + test).tolist() == lengths


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (2, 0, 1)), (4, (3, 0, 1)), (5, (3, 1, 1)), (10, (7, 1, 2))]
)
def test_documented_rounding(n: int, expected: tuple[int, int, int]) -> None:
    part = random_split(np.zeros(n, np.int32), 0)
    assert tuple(np.bincount(part, minlength=3)) == expected


@given(LENGTHS, st.integers(0, 99))
def test_temporal_never_trains_on_the_future(lengths: list[int], seed: int) -> None:
    user = users_of(lengths)
    stamp = np.random.default_rng(seed).integers(0, 12, len(user))
    for part in (temporal_split(user, stamp), leave_last_out(user, stamp)):
        for u in range(len(lengths)):
            last = -1
            for p in range(3):
                times = stamp[(user == u) & (part == p)]
                assert not len(times) or times.min() >= last
                last = max(last, *times) if len(times) else last


def test_equal_timestamps_go_by_item() -> None:
    part = temporal_split(np.zeros(10, np.int32), np.full(10, 7))
    assert part.tolist() == [0] * 7 + [1] + [2, 2]


@given(LENGTHS, st.integers(0, 99))
def test_leave_last_out_sizes(lengths: list[int], seed: int) -> None:
    user = users_of(lengths)
    stamp = np.random.default_rng(seed).permutation(len(user))
    part = leave_last_out(user, stamp)
    train, valid, test = sizes(user, part, len(lengths))
    assert valid.tolist() == [int(n >= 3) for n in lengths]
    assert test.tolist() == [int(n >= 2) for n in lengths]
    assert (train >= 1).all()
    for u, n in enumerate(lengths):
        if n >= 3:
            mine = np.argsort(stamp[user == u])
            assert part[user == u][mine[-2:]].tolist() == [1, 2]


def test_random_split_depends_on_the_seed_and_is_uniform() -> None:
    user = users_of([10] * 4000)
    first, second = random_split(user, 0), random_split(user, 1)
    assert (first == random_split(user, 0)).all() and (first != second).any()
    # Every position is a test pair with probability 0.2; 4000 draws, five standard deviations.
    share = (first.reshape(-1, 10) == 2).mean(0)
    assert np.abs(share - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 4000)


@given(LENGTHS, st.integers(0, 9))
def test_valid_is_carved_from_a_given_train(lengths: list[int], seed: int) -> None:
    user = users_of(lengths)
    given_part = (2 * (np.random.default_rng(seed).random(len(user)) < 0.3)).astype(np.int8)
    part = valid_from_train(user, given_part, seed)
    assert ((part == 2) == (given_part == 2)).all()
    before, after = (np.bincount(user[p == 0], minlength=len(lengths)) for p in (given_part, part))
    valid = np.bincount(user[part == 1], minlength=len(lengths))
    assert valid.tolist() == [rounded(0.125, n) for n in before]
    assert (after[before > 0] >= 1).all()
