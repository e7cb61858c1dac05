"""The formulas of docs/bytes.md, written down from the algorithm and not from the code.

All counts are numbers that leave worker `rank` for other workers, in one direction of one exchange.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from world import Case


def ceil_div(a: int, b: int) -> int:
    return (a + b - 1) // b


def columns(width: int, size: int, rank: int) -> int:
    return width // size + (1 if rank < width % size else 0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Numbers that a worker sends in each kind of exchange, forward (`f_`) and backward (`b_`)."""

    f_pool: int
    b_pool: int
    f_users: int
    f_items: int
    b_users: int
    b_items: int
    f_batch: int
    b_batch: int
    theta: int


def traffic(case: Case, size: int, rank: int, examples: list[int]) -> Traffic:
    """For one pass over a batch of which worker r scores `examples[r]`."""
    m_items, m_users = ceil_div(case.n_items, size), ceil_div(case.n_users, size)
    linear = case.projector == "linear"
    hidden = case.k if linear else case.h
    p, k = min(case.d, hidden), case.k
    p_here, k_here = columns(p, size, rank), columns(k, size, rank)
    rows = [b * (2 + case.negatives) if not case.shared else 2 * b + case.negatives for b in examples]
    pool = case.users == "follow"
    d, h = case.d, case.h
    return Traffic(
        f_pool=(m_items * (p - p_here) + m_users * p_here * (size - 1)) * pool,
        b_pool=(m_items * p_here * (size - 1) + m_users * (p - p_here)) * pool,
        f_users=m_users * (k - k_here),
        f_items=m_items * (k - k_here),
        b_users=m_users * k_here * (size - 1),
        b_items=m_items * k_here * (size - 1),
        f_batch=k_here * (sum(rows) - rows[rank]),
        b_batch=rows[rank] * (k - k_here),
        theta=k * d if linear else h * d + h + k * h + k,
    )


def step_bytes(
    case: Case, size: int, rank: int, examples: list[int], count: int, element: int, outer_examples: list[int]
) -> dict[str, int]:
    """Bytes by tag that `rank` sends in step `count`."""
    t = traffic(case, size, rank, examples)
    o = traffic(case, size, rank, outer_examples)
    sent: Counter[str] = Counter()
    hidden = case.k if case.projector == "linear" else case.h
    theta_reaches_pool = hidden <= case.d  # the pooled rows depend on W1
    follow = case.users == "follow"

    def forward(x: Traffic) -> None:
        sent.update({"pool": x.f_pool, "nodes": x.f_users + x.f_items, "batch": x.f_batch})

    def backward(x: Traffic, *, pool: bool, users: bool = True) -> None:
        sent.update({"pool": x.b_pool * pool, "nodes": x.b_users * users + x.b_items, "batch": x.b_batch})

    def all_reduce(tag: str, n_bytes: int) -> None:
        sent[tag] += 2 * (size - 1) * n_bytes // size

    if case.strength > 0 and count % case.refresh == 0:
        forward(t)
        all_reduce("gram", 8 * case.n_groups)
        if case.rule in ("entropy", "entropy_mgda", "mgda"):
            for _ in range(case.n_groups):
                backward(t, pool=theta_reaches_pool)
            all_reduce("gram", case.n_groups * t.theta * element)
    if case.train_theta:
        forward(t)
        backward(t, pool=theta_reaches_pool)
        all_reduce("theta", t.theta * element)
    if case.train_z and (count + 1) % case.inner_steps == 0:
        forward(o)
        backward(o, pool=True)
        all_reduce("v", t.theta * element)
        if case.train_theta and case.xi > 0 and case.method == "finite_difference":
            for _ in range(2):
                forward(t)
                backward(t, pool=True, users=follow)
        if case.train_theta and case.xi > 0 and case.method == "exact":
            forward(t)
            backward(t, pool=theta_reaches_pool)
            # Differentiated once more: the backward exchanges mirrored, and the forward ones.
            sent.update({"pool": t.f_pool * theta_reaches_pool, "nodes": t.f_users + t.f_items, "batch": t.f_batch})
            backward(t, pool=True, users=follow)
    exchanges = {"pool", "nodes", "batch"}
    return {tag: n * (element if tag in exchanges else 1) for tag, n in sent.items() if n}
