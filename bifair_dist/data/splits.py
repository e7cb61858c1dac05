"""Train, valid and test, always per user; every user keeps at least one pair in train.

A user with n pairs gives n_test = round(0.2 n) to test and n_valid = round(0.1 n) to valid (halves up, in whole-number
arithmetic), and the rest, at least one, to train. Valid/test for n = 1, 2: 0/0; n = 3, 4: 0/1; n = 5: 1/1; n = 10: 1/2.
All functions take pairs sorted by (user, item) and return int8 [E]: 0 train, 1 valid, 2 test.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bifair_dist.data.raw import Codes

Part = npt.NDArray[np.int8]
VALID_PERCENT, TEST_PERCENT = 10, 20


def random_split(user: Codes, seed: int) -> Part:
    """Random 70/10/20 within each user."""
    return _cut(user, _shuffled(user, seed))


def temporal_split(user: Codes, timestamp: npt.NDArray[np.int64]) -> Part:
    """Each user's first 70 % train, next 10 % valid, last 20 % test; equal timestamps in order of item id."""
    return _cut(user, np.lexsort((timestamp, user)))


def leave_last_out(user: Codes, timestamp: npt.NDArray[np.int64]) -> Part:
    """Each user's last pair is test, the one before valid, the rest train; two pairs: train, test; one: train."""
    order = np.lexsort((timestamp, user))
    n, rank = _ranks(user)
    return _place(order, valid=(rank == n - 2) & (n >= 3), test=(rank == n - 1) & (n >= 2))


def valid_from_train(user: Codes, part: Part, seed: int) -> Part:
    """For a given train/test split: move a random 10/80 of each user's train pairs (halves up) to valid, never all."""
    rows = np.flatnonzero(part == 0)
    users = user[rows]
    order = _shuffled(users, seed)
    n, rank = _ranks(users)
    share = 100 - TEST_PERCENT
    moved = _place(order, valid=rank >= n - (2 * VALID_PERCENT * n + share) // (2 * share), test=None)
    result = part.copy()
    result[rows] = moved
    return result


def _shuffled(user: Codes, seed: int) -> npt.NDArray[np.int64]:
    """Order of rows: by user, random within. One 64-bit key, user above and random below, needs a single sort."""
    noise = np.random.default_rng(seed).integers(0, 1 << 32, len(user), dtype=np.uint64)
    return np.argsort((user.astype(np.uint64) << np.uint64(32)) | noise, kind="stable")


def _ranks(user: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For rows sorted by user: the user's number of pairs, and the place 0..n-1 within the user."""
    counts = np.bincount(user)
    starts = np.cumsum(counts) - counts
    return counts[user], np.arange(len(user)) - starts[user]


def _cut(user: Codes, order: npt.NDArray[np.int64]) -> Part:
    n, rank = _ranks(user)
    n_test = (TEST_PERCENT * n + 50) // 100
    n_valid = (VALID_PERCENT * n + 50) // 100
    return _place(order, valid=rank >= n - n_test - n_valid, test=rank >= n - n_test)


def _place(order: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_] | None) -> Part:
    placed = valid.astype(np.int8)
    if test is not None:
        placed[test] = 2
    part = np.empty(len(order), np.int8)
    part[order] = placed
    return part
