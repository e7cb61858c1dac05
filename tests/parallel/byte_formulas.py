"""The formulas of docs/bytes.md (`bifair_dist/cost/traffic.py`) for a case of `world.py`."""

from __future__ import annotations

from world import Case

from bifair_dist.bilevel.weights.registry import RULES
from bifair_dist.cost.traffic import step_traffic
from bifair_dist.cost.work import Work


def work_of_case(case: Case, size: int, element: int) -> Work:
    """The step of `case` on `size` workers."""
    ids = case.ids != ""
    return Work(
        workers=size, n_items=case.n_items, n_users=case.n_users, n_pairs=case.n_pairs,
        d=case.k if ids else case.d, h=case.h, k=case.k, batch=case.batch_size, negatives=case.negatives,
        n_groups=case.balanced_groups, linear=case.projector == "linear",
        shared=case.shared, follow=case.users == "follow" and not ids, balanced=case.strength > 0,
        gram=RULES[case.rule].needs_gram,
        refresh=case.refresh, exact=case.method == "exact", penalty=case.method == "penalty",
        xi=case.xi, inner_steps=case.inner_steps,
        across=RULES[case.rule].across, next_outer=case.outer != "same", weighs_outer=case.weighs_outer,
        train_theta=case.train_theta, train_z=case.train_z, element=element,
        layers=case.layers, ids=ids, own_rows=ids and case.layers > 0,  # world.py's l2 is above 0
    )  # fmt: skip


def step_bytes(
    case: Case, size: int, rank: int, examples: list[int], count: int, element: int, outer_examples: list[int]
) -> dict[str, int]:
    """Bytes by tag that `rank` sends in step `count`."""
    work = work_of_case(case, size, element)
    return dict(step_traffic(work, rank, count, examples, outer_examples).sent)
