"""The passes of a training step, in order: the table "Passes of a step" of docs/bytes.md as a list.

Bytes (`traffic.py`) and operations (`operations.py`) are both sums over this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bifair_dist.cost.work import Work


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a batch, forward or back, in the `part` of the step that it belongs to.

    `pool`: users are pooled in it. `users`: gradients (or nodes) of the user side move. `theta`, `z`: what a backward
    pass differentiates by. `outer`: over the outer level's batch.
    """

    part: str
    forward: bool
    pool: bool
    users: bool = True
    theta: bool = False
    z: bool = False
    outer: bool = False


@dataclass(frozen=True, slots=True)
class Reduce:
    """An all-reduce of `n_bytes` under `tag`."""

    part: str
    tag: str
    n_bytes: int


def passes(work: Work, count: int) -> Iterator[Pass | Reduce]:
    """What step `count` of a phase does."""
    follow, whole = work.follow, work.theta * work.element
    if work.ids:  # no theta, and one matrix for items and users: its nodes move as the items do
        yield Pass("outer", True, pool=False, users=False, outer=True)
        yield Pass("outer", False, pool=False, users=False, z=True, outer=True)
        return
    through_theta = follow and not work.pools_first  # the pooled rows depend on W1

    def forward(part: str, outer: bool = False) -> Pass:
        return Pass(part, True, follow, outer=outer)

    def by_theta(part: str, outer: bool = False) -> Pass:
        return Pass(part, False, through_theta, theta=True, outer=outer)

    if work.balanced and count % work.refresh == 0:
        outer = work.next_outer and work.weighs_outer
        yield forward("weights", outer)
        yield Reduce("weights", "gram", 8 * work.n_groups)
        if work.gram:
            for _ in range(work.n_groups):
                yield by_theta("weights", outer)
            yield Reduce("weights", "gram", work.n_groups * whole)
        if work.gram and work.across and outer:
            yield forward("weights")
            for _ in range(work.n_groups):
                yield by_theta("weights")
            yield Reduce("weights", "gram", work.n_groups * whole)
    if work.penalty and work.second_order:  # theta~ and theta on the inner batch, theta on the outer one
        for part in ("penalty", "inner", "outer"):
            yield forward(part, outer=part == "outer")
            yield Pass(part, False, follow, theta=True, z=True, outer=part == "outer")
            yield Reduce(part, "v", whole)
        return
    if work.train_theta:
        yield forward("inner")
        yield by_theta("inner")
        yield Reduce("inner", "theta", whole)
    if not work.train_z or (count + 1) % work.inner_steps:
        return
    yield forward("outer", outer=True)
    yield Pass("outer", False, follow, theta=True, z=True, outer=True)
    yield Reduce("outer", "v", whole)
    if work.second_order and not work.exact:
        for _ in range(2):
            yield forward("perturbed")
            yield Pass("perturbed", False, follow, users=follow, z=True)
    elif work.second_order:
        yield forward("exact")
        yield by_theta("exact")
        # Differentiated once more: the backward exchanges mirrored, and the forward ones.
        yield Pass("exact", True, through_theta)
        yield Pass("exact", False, follow, users=follow, z=True)
