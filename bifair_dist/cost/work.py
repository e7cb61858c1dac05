"""One training step in numbers: the sizes and settings that decide what it keeps, sends and computes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A step of a phase on W workers; the letters are those of docs/bytes.md.

    `element`: bytes of a number. `shared`: one pool of negatives for the batch. `follow`: users' inputs follow Z.
    `balanced`, `gram`: whether weights are recomputed every `refresh` steps, and whether that takes the Gram matrix,
    with `across` of both levels' gradients. `penalty`: the hypergradient's penalty form. `offload`: Z's Adam moments
    lie on the host. `average`: a running average of the parameters is kept. `ids`: E, a vector of k numbers for every
    item and user, stands in Z's place, and there is no projector. `own_rows`: the batch's rows of E are fetched too,
    for their length. `interval`: steps between two refreshes of cached propagation (0: full propagation), whose
    gradient goes back through `history` items drawn for each user. `next_outer`: the outer level has a batch of its
    own, on which `weighs_outer` has the weights recomputed. `z_at`: where Z, its moments and its average are
    (device, cpu, disk).
    """

    workers: int
    n_items: int
    n_users: int
    n_pairs: int
    d: int
    h: int
    k: int
    batch: int
    negatives: int
    n_groups: int
    layers: int = 2
    linear: bool = False
    shared: bool = True
    follow: bool = True
    masked: bool = True
    balanced: bool = True
    gram: bool = True
    across: bool = False
    refresh: int = 10
    exact: bool = False
    penalty: bool = False
    xi: float = 0.001
    inner_steps: int = 1
    train_theta: bool = True
    train_z: bool = True
    offload: bool = False
    average: bool = False
    element: int = 4
    ids: bool = False
    own_rows: bool = False
    interval: int = 0
    history: int = 0
    next_outer: bool = False
    weighs_outer: bool = False
    z_at: str = "device"

    @property
    def m(self) -> int:
        """Rows of a worker's shard of the items, or of E, padding included."""
        return ceil_div(self.n_items + self.n_users * self.ids, self.workers)

    @property
    def u(self) -> int:
        """Rows of a worker's shard of the users, padding included; those of E hold them already."""
        return 0 if self.ids else ceil_div(self.n_users, self.workers)

    @property
    def hidden(self) -> int:
        """Width after the first layer: k for the linear projector."""
        return self.k if self.linear else self.h

    @property
    def p(self) -> int:
        """Width at which users are pooled."""
        return min(self.d, self.hidden)

    @property
    def pools_first(self) -> bool:
        """Whether pooling stands before the first layer, so that theta has no part in it."""
        return self.hidden > self.d

    @property
    def theta(self) -> int:
        """Numbers in the projector; id embeddings have none."""
        if self.ids:
            return 0
        return self.k * self.d if self.linear else (self.d + 1) * self.h + (self.h + 1) * self.k

    @property
    def second_order(self) -> bool:
        """Whether the hypergradient looks through the inner step."""
        return self.train_z and self.train_theta and (self.xi > 0 or self.penalty)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return ceil_div(self.n_pairs, self.batch)

    def examples(self) -> list[int]:
        """Examples that each worker scores of a full batch."""
        batch = min(self.batch, self.n_pairs)
        bounds = [batch * r // self.workers for r in range(self.workers + 1)]
        return [b - a for a, b in itertools.pairwise(bounds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """N, U, E, d and G of the data that a training runs on."""

    items: int
    users: int
    pairs: int
    width: int
    groups: int


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)
