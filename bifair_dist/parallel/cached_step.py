"""The bi-level step on cached propagation: a refresh when it is due, the rows of Z that the batch touches, the step.

Inside, `z` is those rows and nothing larger; outside, it is the whole of this worker's rows, as for every other step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.model.cached import Cache, CachedAlphaRec, Pass, Touching
from bifair_dist.model.projector import widths
from bifair_dist.parallel.comm import Comm, shard_rows
from bifair_dist.parallel.lazy_adam import LazyAdam


@dataclass(slots=True)
class CachedStep(BilevelStep):
    """`BilevelStep` whose model is `cached`; refreshes before every `interval`-th step of the phase."""

    cached: CachedAlphaRec = field(kw_only=True)
    comm: Comm = field(kw_only=True)
    interval: int = field(kw_only=True)

    def __call__(self, count: int, batch: Batch, outer_batch: Callable[[], Batch]) -> StepRecord:
        """As `BilevelStep` has it; touches the rows of the two batches, between refreshes."""
        table, moves = self.z, self.z_optimizer is not None
        if count % self.interval == 0 or self.cached.cache is None:
            self.cached.refresh(self.theta, table, pool=moves)
        outer = outer_batch() if self.needs_outer(count) else batch
        rows = self.cached.select(batch) if outer is batch else self.cached.select(batch, outer)
        if isinstance(self.z_optimizer, LazyAdam):
            self.z = self.z_optimizer.take(rows)
        else:
            self.z = table.detach().index_select(0, rows.to(table.device)).to(rows.device)
        try:
            # Not super(): a dataclass with slots is another class than the one that its methods were written in.
            return BilevelStep.__call__(self, count, batch, lambda: outer)
        finally:
            self.z = table

    def use(self, full: AlphaRec, touching: Touching, fresh: bool) -> None:
        """Go on with another graph; `fresh`: from a refresh, otherwise what was loaded is propagated over it."""
        self.cached.use(full, touching)
        if fresh:
            self.cached.cache = None
        elif self.cached.cache is not None:
            self.reload()

    def stored(self) -> dict[str, tuple[Tensor, int]]:
        """Rows held here, with how many all workers have, of what going on inside an interval takes.

        X of two refreshes, and users' inputs where they are not fixed; the rest follows from these.
        """
        graph = self.cached.graph
        if self.cached.cache is None:
            self.cached.cache = _empty(self, self.comm)
        cache = self.cached.cache
        found = {"inputs": (cache.inputs, graph.n_users)} if self.cached.full.user_inputs is None else {}
        for name, one in (("now", cache.now), ("before", cache.before)):
            found |= {f"{name}.users": (one.users, graph.n_users), f"{name}.items": (one.items, graph.n_items)}
        return found

    def reload(self) -> None:
        """The tensors of `stored` were loaded."""
        assert self.cached.cache is not None
        now, before = self.cached.cache.now, self.cached.cache.before
        self.cached.load(self.cached.cache.inputs, (now.users, now.items), (before.users, before.items))


def _empty(step: CachedStep, comm: Comm) -> Cache:
    graph = step.cached.graph
    z = graph.user_degree  # its device and number format
    d, _, k = widths(step.theta)
    users, items = (shard_rows(n, comm.size) for n in (graph.n_users, graph.n_items))
    fixed = step.cached.full.user_inputs
    inputs = z.new_zeros(users, d) if fixed is None else fixed
    none: Tensor = torch.empty(0, dtype=z.dtype)
    now, before = (Pass(z.new_zeros(users, k), z.new_zeros(items, k), none, none) for _ in range(2))
    return Cache(inputs, now, before)
