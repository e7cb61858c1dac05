"""Random numbers as functions of a key and a counter: one entry of a permutation of n costs O(1), not O(n).

    mixed(x, key)          splitmix64's finaliser of x g + key, g the golden ratio (Steele, Lea & Flood, OOPSLA 2014)
    permuted(i, n, key)    a Feistel network on the integers below 2^b >= n, walked along its cycle until it is below n
                           (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002)

So a worker draws the part of an epoch's order, of a pool of negatives or of a user's history that it needs, and no
other; the same on every machine and for every number of workers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint64]

ROUNDS = 6
"""Four rounds of random functions pass for a random permutation (Luby & Rackoff, 1988); two to spare."""
FEW = 1 << 12
"""Up to so many numbers are put in a random order by sorting: on halves of a few bits there are too few functions."""
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(*key: int | str) -> int:
    """64 bits that stand for `key`."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def mixed(x: Words, key: int) -> Words:
    """64 random bits for every entry of `x`."""
    y = x * np.uint64(_GOLDEN) + np.uint64(key)
    y = (y ^ (y >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    y = (y ^ (y >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return y ^ (y >> np.uint64(31))


def permuted(positions: Tensor, n: int, key: int) -> Tensor:
    """Entries `positions` (int64, each below n) of the permutation of 0..n-1 that belongs to `key`."""
    if n <= FEW:
        return torch.from_numpy(np.argsort(mixed(np.arange(n, dtype=np.uint64), key), kind="stable"))[positions]
    values = positions.numpy().astype(np.uint64)
    bits = (n - 1).bit_length()
    pending = np.arange(len(values))
    while len(pending):
        walked = _feistel(values[pending], bits, key)
        values[pending] = walked
        pending = pending[walked >= n]
    return torch.from_numpy(values.astype(np.int64))


def drawn(rows: Tensor, per: int, bounds: Tensor, key: int) -> Tensor:
    """For every row (a number of its own, int64 [m]) `per` draws below its bound, with replacement: int64 [m, per].

    A bound of 0 gives 0. The remainder of 64 bits favours small numbers by less than bound / 2^64.
    """
    counters = rows.numpy().astype(np.uint64)[:, None] * np.uint64(per) + np.arange(per, dtype=np.uint64)
    below = np.maximum(bounds.numpy(), 1).astype(np.uint64)[:, None]
    return torch.from_numpy((mixed(counters, key) % below).astype(np.int64))


def _feistel(x: Words, bits: int, key: int) -> Words:
    """A permutation of the integers below 2^bits: halves of a and b bits take turns, and so do their widths."""
    a, b = bits // 2, bits - bits // 2  # of the left and the right half; an even number of rounds gives them back
    left, right = x >> np.uint64(b), x & np.uint64((1 << b) - 1)
    for number in range(ROUNDS):
        turned = mixed(right, key_round(key, number)) & np.uint64((1 << a) - 1)
        left, right, a, b = right, left ^ turned, b, a
    return (left << np.uint64(b)) | right


def key_round(key: int, number: int) -> int:
    """A key for a round of its own."""
    return (key + (number + 1) * 0xD1B54A32D192ED03) % 2**64
