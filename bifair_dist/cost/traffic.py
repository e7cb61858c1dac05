"""Bytes that a worker sends in a step: the formulas of docs/bytes.md, from the algorithm and not from the code.

`tests/parallel/test_world_size.py` holds them against what `Comm` counts, to the byte; the table of docs/bytes.md is
computed from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bifair_dist.cost.passes import Pass, Reduce, passes
from bifair_dist.cost.work import Work


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes and collectives of one worker, by tag (pool, nodes, batch, gram, theta, v)."""

    sent: Counter[str]
    calls: Counter[str]

    @property
    def total(self) -> int:
        """Bytes of all tags."""
        return sum(self.sent.values())


def columns(width: int, size: int, rank: int) -> int:
    """Columns of a `width` wide matrix on worker `rank`: the first `width` mod `size` workers hold one more."""
    return width // size + (rank < width % size)


def step_traffic(
    work: Work,
    rank: int,
    count: int,
    examples: Sequence[int] | None = None,
    outer_examples: Sequence[int] | None = None,
) -> Traffic:
    """What `rank` sends in step `count`. Worker r scores `examples[r]` of the batch (None: of a full one)."""
    traffic = Traffic(Counter(), Counter())
    if work.workers == 1:
        return traffic
    inner = examples if examples is not None else work.examples()
    outer = outer_examples if outer_examples is not None else inner
    for event in passes(work, count):
        if isinstance(event, Reduce):
            add(traffic, event.tag, 2 * (work.workers - 1) * event.n_bytes // work.workers)
        else:
            _exchanges(traffic, work, rank, event, outer if event.outer else inner)
    return traffic


def _exchanges(traffic: Traffic, work: Work, rank: int, event: Pass, examples: Sequence[int]) -> None:
    """The exchanges of one pass: each sends (W - 1) / W of rows as columns, or of columns as rows."""
    others, p, k, s = work.workers - 1, work.p, work.k, work.element
    p_here, k_here = columns(p, work.workers, rank), columns(k, work.workers, rank)
    rows = [2 * b + (work.negatives if work.shared else b * work.negatives) for b in examples]
    to_columns, to_rows = p - p_here, p_here * others
    if event.pool:
        add(traffic, "pool", s * work.m * (to_columns if event.forward else to_rows))
        add(traffic, "pool", s * work.u * (to_rows if event.forward else to_columns))
    each = k - k_here if event.forward else k_here * others
    for n, moves in ((work.m, True), (work.u, event.users)):
        if moves:
            add(traffic, "nodes", s * n * each)
    batch = s * (k_here * (sum(rows) - rows[rank]) if event.forward else rows[rank] * (k - k_here))
    for _ in range(1 + work.own_rows):
        add(traffic, "batch", batch)


def add(traffic: Traffic, tag: str, n_bytes: int) -> None:
    """Count one collective."""
    traffic.sent[tag] += n_bytes
    traffic.calls[tag] += 1
