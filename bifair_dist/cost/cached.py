"""Cached propagation in numbers: what a step sends and computes between refreshes, and what a refresh does.

A step's passes are those of passes.py over the batch's distinct nodes, a users and b items on a worker, without graph
(docs/bytes.md). A refresh pools users at width d, projects all nodes without a gradient and propagates k columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bifair_dist.cost import traffic as full
from bifair_dist.cost.operations import Operations, optimiser_bytes, pass_operations, step_flops
from bifair_dist.cost.passes import Pass, Reduce, passes
from bifair_dist.cost.traffic import Traffic, add, columns
from bifair_dist.cost.work import Work, ceil_div

COLUMNS = 64
"""Columns of Z that a refresh pools at a time (model/refresh.py)."""
WIDE = 8
"""Bytes of a number in the fit, which is made in float64 whatever the rest is."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Distinct nodes of one batch: users and items of every worker, and how many draws of its users lie elsewhere."""

    users: Sequence[int]
    items: Sequence[int]
    away: Sequence[int]

    @classmethod
    def most(cls, work: Work) -> Nodes:
        """Of a full batch without an item or user twice, shared out evenly."""
        batch, w = min(work.batch, work.n_pairs), work.workers
        asked = batch + (work.negatives if work.shared else batch * work.negatives)
        users, items = (ceil_div(min(n, most), w) for n, most in ((batch, work.n_users), (asked, work.n_items)))
        return cls([users] * w, [items] * w, [users * work.history * (w - 1) // w] * w)

    @property
    def here(self) -> tuple[int, int]:
        """Users and items of the worker that has most."""
        return max(self.users), max(self.items)


def features(work: Work) -> int:
    """f: X, its last move and a one."""
    return 2 * work.k + 1


def batches(work: Work, count: int) -> int:
    """How many batches step `count` takes its nodes of."""
    moves = work.train_z and (count + 1) % work.inner_steps == 0
    weighs = work.weighs_outer and work.balanced and count % work.refresh == 0
    return 1 + (work.next_outer and (moves or weighs))


def rows_of_z(work: Work, count: int) -> int:
    """Most rows of Z that a worker's step takes: the items of its batches and what is drawn of histories."""
    users, items = Nodes.most(work).here
    return min(work.m, batches(work, count) * (items + work.history * users))


def step_traffic(work: Work, rank: int, count: int, inner: Nodes | None = None, outer: Nodes | None = None) -> Traffic:
    """What `rank` sends in step `count` between refreshes; `inner`, `outer`: the nodes of its batches."""
    traffic, w, s = Traffic(Counter(), Counter()), work.workers, work.element
    if w == 1:
        return traffic
    inner = inner or Nodes.most(work)
    outer, f = outer or inner, features(work)
    for nodes in (inner, outer)[: batches(work, count)]:
        add(traffic, "fit", 2 * (w - 1) * WIDE * f * f // w)
        add(traffic, "history", (w - 1) * nodes.users[rank] * work.history * 8)
    for event in passes(work, count):
        if isinstance(event, Reduce):
            add(traffic, event.tag, 2 * (w - 1) * event.n_bytes // w)
            continue
        nodes = outer if event.outer else inner
        mine, every = nodes.users[rank] + nodes.items[rank], sum(nodes.users) + sum(nodes.items)
        add(traffic, "rows", s * work.k * ((w - 1) * mine if event.forward else every - mine))
        add(traffic, "fit", 2 * (w - 1) * WIDE * (f + 1) * work.k // w)
        if event.z and work.follow:
            add(traffic, "history", s * work.d * nodes.away[rank])
    return traffic


def pools(work: Work, count: int) -> bool:
    """Whether the refresh before step `count` pools the users' inputs: where they follow a Z that moved."""
    return work.follow and (work.train_z or count == 0)


def refresh_traffic(work: Work, rank: int, count: int) -> Traffic:
    """What `rank` sends in the refresh before step `count`."""
    traffic, w, s = Traffic(Counter(), Counter()), work.workers, work.element
    if w == 1:
        return traffic
    for first in range(0, work.d if pools(work, count) else 0, COLUMNS):
        width = min(COLUMNS, work.d - first)
        here = columns(width, w, rank)
        add(traffic, "pool", s * work.m * (width - here))
        add(traffic, "pool", s * work.u * here * (w - 1))
    here = columns(work.k, w, rank)
    for n in (work.u, work.m):
        add(traffic, "nodes", s * n * (work.k - here))
        add(traffic, "nodes", s * n * here * (w - 1))
    return traffic


def step_operations(work: Work, count: int) -> Operations:
    """What the busiest worker computes in step `count` between refreshes."""
    users, items = Nodes.most(work).here
    w, f, s = work.workers, features(work), work.element
    # The batch's nodes are a catalogue of their own, whose users have inputs and whose graph has no layer.
    batch = replace(work, n_users=w * users, n_items=w * items, layers=0, follow=False)
    done, nodes = Operations(Counter(), Counter()), users + items
    double = WIDE // s  # float64 at half the pace of float32
    for event in passes(batch, count):
        if not isinstance(event, Pass):
            continue
        one, times = pass_operations(batch, event), 1 if event.forward else 2
        done.flops.update(one.flops)
        done.bytes.update(one.bytes)
        # F'D and F M in float64, P F M; back, each by M and by D.
        done.flops["fit"] += times * 2 * nodes * f * work.k * (2 * double + 1)
        done.bytes["fit"] += times * (3 * WIDE + 6 * s) * nodes * f
        # Items' rows of Z and users' inputs are gathered; back, rows that were zero are added to.
        done.bytes["rows of Z"] += s * work.d * (2 * nodes if event.forward else 3 * event.z * rows_of_z(work, count))
    done.flops["fit"] += batches(work, count) * double * (2 * nodes * f * f + f**3)
    moved = replace(work, n_items=w * rows_of_z(work, count))
    done.bytes["optimiser"] = optimiser_bytes(moved, count)
    return done


def refresh_operations(work: Work, count: int) -> Operations:
    """What the busiest worker computes in the refresh before step `count`."""
    done, s, w = Operations(Counter(), Counter()), work.element, work.workers
    one = pass_operations(replace(work, follow=False), Pass("refresh", True, False))
    for part in ("projection", "propagation"):
        done.flops[part], done.bytes[part] = one.flops[part], one.bytes[part]
    if pools(work, count):
        here = ceil_div(work.d, w)
        blocks = ceil_div(here, COLUMNS)
        done.bytes["pooling"] = (4 * blocks + s * here) * work.n_pairs + 2 * s * (work.n_items + work.n_users) * here
    return done


def refresh_flops(work: Work, count: int) -> int:
    """Operations of all workers in a refresh, additions over the graph included."""
    products = sum(refresh_operations(work, count).flops.values()) * work.workers
    return products + work.n_pairs * (2 * work.layers * work.k + work.d * pools(work, count))


def traffic_of(work: Work, rank: int, count: int) -> Traffic:
    """Of step `count` of either propagation, a refresh apart."""
    return step_traffic(work, rank, count) if work.interval else full.step_traffic(work, rank, count)


def flops_of(work: Work, count: int) -> float:
    """Operations of all workers in step `count` of either propagation, with the step's share of a refresh."""
    if not work.interval:
        return step_flops(work, count)
    products = sum(step_operations(work, count).flops.values()) * work.workers
    return products + refresh_flops(work, 1) / work.interval
