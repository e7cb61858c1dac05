"""The large tensors of a training step: how big each kind is, and how many are alive at the moments that matter.

Counted in the code of the step and checked with a tracker of live tensors (W = 1 and 2, users that follow and frozen
ones, pooling on either side, both hypergradients); batch-sized tensors are always counted as at the loss.

    set-up       sorting the pairs by item, a block of them at a time
    pooling      rows packed by columns, sent, pooled, and back
    forward      rows, overwritten by LeakyReLU; layers, their sum, a product, two scaled copies
    weights      the Gram matrix's backward passes: the forward's rows stay for the next group, one gradient on top
    groups       the groups' gradients: a list, the same in one piece, their sum, and that in float64
    perturbed    g_Z so far beside a forward pass that keeps no rows for theta
    Z            the last product of its backward pass: g_Z so far, the new gradient, and what it is made of
    exact        the double backward pass keeps both passes
    E            with id embeddings: the gradient by the batch's nodes, by the rows of E themselves, and LightGCN of it

Cached propagation: a step has the batch's nodes and the rows of Z that it takes (five of them in Adam); a refresh
writes over what is no longer needed, and has columns of all nodes beside.
"""

from __future__ import annotations

from bifair_dist.cost.cached import COLUMNS, WIDE, Nodes, features, rows_of_z
from bifair_dist.cost.work import Work, ceil_div

Counts = dict[str, int]
SORTED = 1 << 25
"""Pairs that are sorted at a time: `BLOCK` of bifair_dist/csr.py, which a plan does not import (it needs torch)."""


def sizes(work: Work) -> Counts:
    """Bytes of one tensor of each kind, on one worker."""
    s, n, users, p = work.element, work.n_items, work.n_users, work.p
    p_here, k_here = ceil_div(p, work.workers), ceil_div(work.k, work.workers)
    b = ceil_div(min(work.batch, work.n_pairs), work.workers)
    rows = 2 * b + (work.negatives if work.shared else b * work.negatives)
    if work.interval:
        return _sizes_of_cached(work, b, rows)
    return {
        "Z": s * work.m * work.d,
        "fixed inputs": s * work.u * work.d,
        "item rows": s * work.m * work.hidden,
        "user rows": s * work.u * work.hidden,
        "items to pool": s * work.m * p,
        "items to pool, columns": s * n * p_here,
        "pooled users": s * work.u * p,
        "pooled users, columns": s * users * p_here,
        "item columns": s * n * k_here,
        "user columns": s * users * k_here,
        "batch rows": s * rows * work.k,
        "scores": s * b * (work.negatives + 1),
        "projector": s * work.theta,
        "pairs": 8 * min(work.n_pairs, SORTED),
    }


def moments(work: Work) -> dict[str, Counts]:
    """Tensors alive by moment and kind, beyond what a worker holds all the time."""
    batch = {"batch rows": 8, "scores": 6}
    if work.ids:
        return _moments_of_ids(work, batch)
    if work.interval:
        return _moments_of_cached(work, batch)
    layers = {"item columns": 5, "user columns": 4, **batch}
    first = {"pooled users": 1} if work.follow and work.pools_first else {}  # saved for the gradient of W1
    so_far = int(work.second_order)  # g_Z, to which the perturbed passes are added
    found: dict[str, Counts] = {
        "set-up": {"pairs": 5},
        "forward": {"item rows": 1, "user rows": 1, **layers, **first},
    }
    if work.follow:
        columns = {"items to pool, columns": 1, "pooled users, columns": 2}
        rows = {"items to pool": 1, "pooled users": 2} if work.workers > 1 else {}
        found["pooling"] = {"Z": so_far, "item rows": int(not work.pools_first), **columns, **rows}
    if work.balanced and work.gram:
        found["weights"] = {"item rows": 2, "user rows": 1, **batch, **first}
        if work.follow and not first:
            found["weights"] |= {"items to pool, columns": 2}
        found["groups"] = {"projector": 5 * work.n_groups}
    if work.train_z:
        found["perturbed"] = {"Z": so_far, "item rows": 1, "user rows": 1, **layers, **first}
        found["Z"] = {"Z": 1 + so_far, "item rows": 1, "items to pool": int(work.follow)}
    if work.second_order and work.exact:
        found["exact"] = {"Z": 2, "item rows": 6, "user rows": 4, "item columns": 1, **batch}
    return found


def _moments_of_ids(work: Work, batch: Counts) -> dict[str, Counts]:
    """The same where E [N + U, k] is all there is; on one worker its columns are E itself."""
    spread, sent = 3 * (work.layers > 0), int(work.workers > 1)  # LightGCN: scaled, a layer, a product

    def nodes(count: int) -> Counts:
        return {"item columns": count, "user columns": count}

    return {
        "set-up": {"pairs": 5},
        "forward": {**nodes(spread + sent), **batch},
        "E": {**nodes(1 + work.own_rows + spread), **batch},
        "Z": {"Z": 1, **nodes(1 + sent)},
    }


def _sizes_of_cached(work: Work, b: int, rows: int) -> Counts:
    s, nodes = work.element, sum(Nodes.most(work).here)
    pooled, wide = ceil_div(COLUMNS, work.workers), ceil_div(work.k, work.workers)
    return {
        "Z": s * work.m * work.d,
        "fixed inputs": s * work.u * work.d,
        "cached pass": s * (work.u + work.m) * 2 * work.k,
        "items to pool, columns": s * work.n_items * pooled,
        "pooled users, columns": s * work.n_users * pooled,
        "item columns": s * work.n_items * wide,
        "user columns": s * work.n_users * wide,
        "touched rows": s * rows_of_z(work, work.inner_steps - 1) * work.d,
        "inputs": s * nodes * work.d,
        "nodes' hidden rows": s * nodes * work.hidden,
        "fit": WIDE * nodes * features(work),
        "all workers' nodes": s * nodes * work.workers * work.k,
        "batch rows": s * rows * work.k,
        "scores": s * b * (work.negatives + 1),
        "projector": s * work.theta,
        "pairs": 8 * min(work.n_pairs, SORTED),
    }


def _moments_of_cached(work: Work, batch: Counts) -> dict[str, Counts]:
    second = work.second_order and work.exact
    step = {"inputs": 2, "nodes' hidden rows": 8 if second else 3, "fit": 4, "all workers' nodes": 2, **batch}
    apart = work.workers > 1  # rows are packed, sent and unpacked; on one worker columns are rows
    found: dict[str, Counts] = {
        "set-up": {"pairs": 5},
        "step": {"touched rows": 5 * work.train_z, **step},
        "propagation": {"item columns": 5, "user columns": 4} if apart else {"item columns": 2, "user columns": 2},
    }
    if work.follow:
        found["pooling"] = {"items to pool, columns": 1 + apart, "pooled users, columns": 1 + apart}
    if work.balanced and work.gram:
        found["groups"] = {"projector": 5 * work.n_groups, "touched rows": int(work.train_z)}
    return found
