"""A bi-level step on a generated catalogue from the core alone (torch and nothing else), on any device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from benchmarks.catalogue import GROUPS, Pairs, synthetic_pairs, unit_rows
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import Graph, build_graph
from bifair_dist.model.projector import init_theta
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.sampler import BatchSampler

OUTPUT, BATCH, NEGATIVES, LR, XI, EPS, STRENGTH, REFRESH = 64, 4096, 256, 1e-3, 1e-3, 1e-2, 0.3, 10
"""The defaults of `jobs/train.py`."""
Method = Literal["finite_difference", "exact"]


@dataclass(frozen=True, slots=True)
class Size:
    """A catalogue of U users, N items, E pairs and vectors of d columns."""

    users: int
    items: int
    pairs: int
    width: int

    @property
    def hidden(self) -> int:
        """Width of the projector: half of d, and at least the default."""
        return max(256, self.width // 2)

    def __str__(self) -> str:
        return f"U {self.users:,}, N {self.items:,}, E {self.pairs:,}, d {self.width:,}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a step needs besides theta and Z; `pairs` and `graph` on the device, `known` and `sampler` on the CPU."""

    size: Size
    device: torch.device
    pairs: Pairs
    graph: Graph
    known: Csr
    sampler: BatchSampler
    comm: Comm

    @classmethod
    def generate(cls, size: Size, device: torch.device, comm: Comm | None = None) -> Problem:
        """The catalogue of seed 0, its graph and its sampler."""
        pairs = synthetic_pairs(size.users, size.items, size.pairs, device=device.type)
        graph = build_graph(pairs.user, pairs.item, size.users, size.items)
        known, by_item = graph.items_of_users.to("cpu"), graph.users_of_items.to("cpu")
        sampler = BatchSampler(
            pairs.user.cpu(),
            pairs.item.cpu(),
            size.items,
            batch_size=min(BATCH, size.pairs // 8),
            negatives=min(NEGATIVES, size.items),
            shared=True,
            known=known,
            users_of_items=by_item,
            seed=0,
        )
        return cls(size, device, pairs, graph, known, sampler, comm or Comm())

    def step(
        self,
        method: Method = "finite_difference",
        *,
        bilevel: bool = True,
        low: torch.dtype | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> BilevelStep:
        """A step at the Z and theta of seed 0: BiFair's, or AlphaRec's where not `bilevel`.

        `low`: number format of the projector's products in all but the perturbed passes.
        """
        size, graph = self.size, self.graph
        if dtype != torch.float32:
            graph = build_graph(self.pairs.user, self.pairs.item, size.users, size.items, dtype)
        model = AlphaRec(graph, Sharded(self.comm))
        outer = replace(model, low=low)
        z = unit_rows(size.items, size.width, 0, self.device.type).to(dtype).requires_grad_(bilevel)
        theta = init_theta(size.width, size.hidden, OUTPUT, "mlp", 0, dtype)
        inner = InnerLoss({name: t.to(self.device) for name, t in theta.items()}, outer)
        membership = Membership.of(
            "item", self.pairs.item_of_group.cpu(), self.pairs.group.cpu(), size.items, self.pairs.n_groups
        )
        balance = GroupBalance(
            make_rule("entropy"),
            strength=STRENGTH,
            refresh_every=REFRESH,
            average=0.0,
            catalogue_sizes=membership.sizes,
        )
        return BilevelStep(
            model=model,
            outer_model=outer,
            theta=inner.theta,
            z=z,
            places=Workers(self.comm, inner, None),
            theta_optimizer=torch.optim.Adam(inner.parameters(), LR, fused=True),
            z_optimizer=torch.optim.Adam([z], LR, fused=True) if bilevel else None,
            balance=balance if bilevel else None,
            membership=membership if bilevel else None,
            method=method,
            xi=XI,
            eps=EPS,
        )


TINY = Size(300, 200, 4_000, 32)
SIZES = {
    "tiny": TINY,
    "steam": Size(3_370, 2_142, 64_757, 384),
    "ml-1m": Size(6_038, 2_810, 571_531, 384),
    "small": Size(12_000, 5_000, 100_000, 384),
    "medium": Size(50_000, 20_000, 1_000_000, 1024),
    "large": Size(200_000, 100_000, 5_000_000, 1024),
    "huge": Size(1_000_000, 400_000, 20_000_000, 1024),
}
"""Catalogues by name, as (U, N, E, d)."""
__all__ = ["BATCH", "EPS", "GROUPS", "SIZES", "TINY", "XI", "Problem", "Size"]
