"""The rows of id embeddings that a run starts from, the same for every number of workers."""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.parallel.comm import Comm, row_range, shard_rows
from bifair_dist.parallel.sampler import counter_generator

BLOCK = 4096
"""Rows drawn from one generator: a worker draws the blocks that its own rows lie in, and no others."""


def first_rows(n_items: int, n_users: int, k: int, comm: Comm, seed: int, dtype: torch.dtype) -> Tensor:
    """This worker's rows [m, k] of the first E [N + U, k], padded with zeros; E is the same for every worker count.

    Normal entries of variance 2 / (rows + k), items and users each by themselves (Glorot & Bengio, AISTATS 2010), as
    RecBole starts. LightGCN's own code takes a deviation of .1: MF then finds less (docs/decisions.md).
    """
    n = n_items + n_users
    start, stop = row_range(n, comm.size, comm.rank)
    rows = torch.zeros(shard_rows(n, comm.size), k, dtype=dtype)
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        rng = counter_generator(seed, "id embeddings", block)
        drawn = torch.randn(min(BLOCK, n - first), k, generator=rng, dtype=torch.float64)
        items = max(0, n_items - first)
        drawn[:items] *= (2 / (n_items + k)) ** 0.5
        drawn[items:] *= (2 / (n_users + k)) ** 0.5
        here, end = max(first, start), min(first + len(drawn), stop)
        rows[here - start : end - start] = drawn[here - first : end - first].to(dtype)
    return rows
