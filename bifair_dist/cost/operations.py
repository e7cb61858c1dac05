"""Floating-point operations and memory traffic of a step on one worker, by part of the model.

A product of an a x b and a b x c matrix is 2 a b c operations. Sums over the graph and elementwise work are bound by
memory and counted in bytes: a product with the graph reads an index and a row for each edge.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bifair_dist.cost.passes import Pass, passes
from bifair_dist.cost.traffic import columns
from bifair_dist.cost.work import Work, ceil_div


@dataclass(frozen=True, slots=True)
class Operations:
    """Of one worker, by part: `flops` of matrix products, `bytes` read and written by everything bound by memory."""

    flops: Counter[str]
    bytes: Counter[str]


def step_operations(work: Work, count: int) -> Operations:
    """What the busiest worker computes in step `count`."""
    done = Operations(Counter(), Counter())
    for event in passes(work, count):
        if isinstance(event, Pass):
            one = pass_operations(work, event)
            done.flops.update(one.flops)
            done.bytes.update(one.bytes)
    done.bytes["optimiser"] = optimiser_bytes(work, count)
    return done


def pass_operations(work: Work, event: Pass) -> Operations:
    """Of one pass over the batch, forward or back."""
    done = Operations(Counter(), Counter())
    _projection(done, work, event)
    _propagation(done, work, event)
    _loss(done, work, event)
    return done


def optimiser_bytes(work: Work, count: int) -> int:
    """What the optimisers of step `count` read and write, the sum that makes g_Z included."""
    n_bytes, z = 0, work.element * work.m * work.d
    if work.train_z and (count + 1) % work.inner_steps == 0:
        # Adam reads Z, gradient and moments and writes Z and moments; each perturbed gradient is added to the first.
        n_bytes += 7 * z + 3 * z * work.second_order * (1 if work.exact else 2)
    if work.train_theta:
        n_bytes += 7 * work.element * work.theta
    return n_bytes


def step_flops(work: Work, count: int) -> int:
    """Floating-point operations of all workers in step `count`, additions over the graph included."""
    operations = sum(step_operations(work, count).flops.values()) * work.workers
    for event in passes(work, count):
        if isinstance(event, Pass):
            operations += 2 * work.layers * work.n_pairs * work.k + event.pool * work.n_pairs * work.p
    return operations


def _projection(done: Operations, work: Work, event: Pass) -> None:
    if work.ids:
        return
    first = 2 * work.m * work.d * work.hidden
    if work.pools_first or not work.follow:  # the users' side has a first layer of its own
        first += 2 * work.u * work.d * work.hidden
    second = 0 if work.linear else 2 * (work.m + work.u) * work.h * work.k
    # Back: the second layer by its input always and by theta where asked; the first by Z and by theta.
    products = (1, 1) if event.forward else (event.theta + event.z, 1 + event.theta)
    done.flops["projection"] += products[0] * first + products[1] * second
    # LeakyReLU and the biases: three tensors read, two written.
    done.bytes["projection"] += 0 if work.linear else 5 * work.element * (work.m + work.u) * work.h


def _propagation(done: Operations, work: Work, event: Pass) -> None:
    s, n = work.element, work.n_items + work.n_users
    kc, pc = columns(work.k, work.workers, 0), columns(work.p, work.workers, 0)
    each = (4 + s * kc) * 2 * work.n_pairs + 6 * s * n * kc  # an edge's index and row, both ways; scale, add, store
    done.bytes["propagation"] += work.layers * each
    if work.ids and not event.forward:  # the batch's gradients amid zeros, then rows of E: written, read, written
        done.bytes["propagation"] += (1 + work.own_rows) * 3 * s * n * kc
    if event.pool:
        done.bytes["pooling"] += (4 + s * pc) * work.n_pairs + 2 * s * n * pc


def _loss(done: Operations, work: Work, event: Pass) -> None:
    b = ceil_div(min(work.batch, work.n_pairs), work.workers)
    passes_over = 1 if event.forward else 2
    done.flops["loss"] += passes_over * 2 * b * work.negatives * work.k
    done.bytes["loss"] += 6 * work.element * b * work.negatives
