"""Memory of a worker in a training, by part, from formulas. Letters are those of docs/bytes.md; m = N / W, u = U / W.

Z            m d                         its gradient as much, two Adam moments twice, a hypergradient buffer once
graph        3 E + 2 (U + N)             CSR both ways, 4-byte indices, one array of ones; offsets, degrees
sampler      32 E bytes + 8 U bytes      pairs and known items (int64), order of an epoch
hidden       3 (m + u) h                 rows before and after LeakyReLU, and one gradient
pooling      4 (N + U) p / W             hidden rows as columns, their gradient; one exchange, sent and received
nodes        (2 + L) (U + N) k / W + 2 (m + u) k    columns: layers, their sum, a product; rows, their gradient
batch        3 (2 b + K) k               rows of the batch, normalised, gradient
logits       3 b (K + 1)                 scores, exponentials, gradient
theta        (8 + 2 G) |theta|           parameters, gradient, moments, DDP's bucket, v, theta', theta+-; g_k
"""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.planning.work import Work, ceil_div

MIB = 2**20
BASE = 365 * MIB
"""Resident memory of a worker without data: Python, torch and what both import (measured, benchmarks/results)."""
CONTEXT = 600 * MIB
"""A CUDA context with cuBLAS's, cuSPARSE's and NCCL's buffers: assumed, no GPU was at hand."""
TEXT = 72
"""Bytes of an id as a Python string with its place in an array: 8 + 49 + about 15 characters; titles take more."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one part of a worker's memory; `host`: in the machine's memory even where the worker has a GPU."""

    name: str
    n_bytes: int
    host: bool = False


def parts(work: Work) -> list[Part]:
    """Parts of a worker's memory in the step of a phase; those that the settings leave out are absent."""
    s, m, u, h, k = work.element, work.m, work.u, work.hidden, work.k
    n, b = work.n_items + work.n_users, ceil_div(work.batch, work.workers)
    z = s * m * work.d
    p, kc = ceil_div(work.p, work.workers), ceil_div(k, work.workers)
    rows = 2 * b + (work.negatives if work.shared else b * work.negatives)
    found = [
        Part("Z", z),
        Part("gradient of Z", z * work.train_z),
        Part("Adam's two moments of Z", 2 * z * work.train_z, work.offload),
        Part("hypergradient buffer", z * work.second_order),
        Part("running average of Z", z * (work.average and work.train_z)),
        Part("users' fixed inputs", 0 if work.follow else s * u * work.d),
        Part("graph", (8 + s) * work.n_pairs + (4 + s) * n),
        Part("pairs, known items and order", 32 * work.n_pairs + 8 * work.n_users, True),
        Part("activations: hidden rows", s * 3 * (m + u) * h),
        Part("activations: pooling", s * 4 * n * p * work.follow),
        Part("activations: propagation", s * ((2 + work.layers) * n * kc + 2 * (m + u) * k)),
        Part("batch", s * 3 * rows * k),
        Part("logits", s * 3 * b * (work.negatives + 1)),
        Part("projector", s * (8 + 2 * work.n_groups) * work.theta),
    ]
    return [part for part in found if part.n_bytes]


def tables(work: Work) -> Part:
    """Ids, titles and held-out pairs that every worker of a training reads beside its rows; ids and titles guessed."""
    return Part("ids, titles, evaluation", TEXT * (2 * work.n_items + work.n_users) + 2 * 8 * work.n_pairs, True)


def total(found: list[Part], *, host: bool | None = None) -> int:
    """Bytes of all parts, or of those on the host (or not) alone."""
    return sum(part.n_bytes for part in found if host is None or part.host == host)
