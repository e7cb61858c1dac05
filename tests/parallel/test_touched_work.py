"""A cached step's work does not grow with the catalogue: every element that its operations read or write is counted."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from cached_world import INTERVAL, CachedCase, build
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from world import Case, Data

from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.training.lazy_averaging import LazyAverage

BY_ROWS = ("index_select", "index_copy_", "index_fill_", "index.Tensor", "index_put_", "_index_put_impl_")
"""Operations that touch the rows that an index names of their first argument, and no others."""


class Counted(TorchDispatchMode):
    """Elements read and written by every operation; views are free, tables that are indexed count by their rows."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.largest = 0, (0, "")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.name in ("aten::detach", "aten::alias"):
            return out
        by_rows = any(name in str(func) for name in BY_ROWS)
        touched = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if by_rows:
            touched = touched[1:]
        if not (by_rows and str(func).split(".")[1].endswith("_")):
            touched += [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        n = sum(t.numel() for t in touched)
        self.elements += n
        self.largest = max(self.largest, (n, str(func)))
        return out


def catalogue(n: int) -> tuple[CachedCase, Data]:
    """n items, n / 2 users, 8 n pairs."""
    case = Case(n_items=n, n_users=n // 2, n_pairs=8 * n, batch_size=64, negatives=16, d=12, h=9, k=5, refresh=100)
    rng = torch.Generator().manual_seed(n)
    user, item = (torch.randint(top, (8 * n,), generator=rng) for top in (n // 2, n))
    z = F.normalize(torch.randn(n, 12, generator=rng, dtype=torch.float64), dim=1)
    none = torch.zeros(0, dtype=torch.int64)
    groups = torch.randint(0, 4, (n,), generator=rng)
    return CachedCase(case=case), Data(user, item, none.bool(), none, none, z, torch.arange(n), groups)


def work_of_a_step(n: int, break_it: bool = False) -> Counted:
    """Of the third step of an interval: its batch, its four passes, both optimisers and the running average."""
    step, batches = build(*catalogue(n), Comm(), None)
    assert isinstance(step.z_optimizer, LazyAdam) and INTERVAL > 3
    average = LazyAverage(20.0, step.theta, step.z, step.z_optimizer)
    for count in range(2):
        batch = batches.batch(0, count)
        step(count, batch, lambda batch=batch: batch)
        average.update()
    with Counted() as counted:
        batch = batches.batch(0, 2)
        step(2, batch, lambda: batch)
        average.update()
        if break_it:
            step.z.square().sum()
    return counted


def test_the_work_of_a_step_is_that_of_its_batch() -> None:
    small, large = work_of_a_step(2_000), work_of_a_step(32_000)
    assert large.elements < 1.1 * small.elements, (small.largest, large.largest)
    assert large.largest[0] < 32_000


def test_the_count_sees_one_pass_over_z() -> None:
    assert work_of_a_step(32_000, break_it=True).elements > work_of_a_step(32_000).elements + 32_000 * 12
