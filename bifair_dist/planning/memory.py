"""Memory of a worker in a training, by part, from formulas: what it always holds, and the tensors of its widest moment.

    always       Z m d, two moments of it 2 m d, graph, pairs, projector (letters: docs/bytes.md; m = N / W)
    passing      max over moments of sum over kinds of count x size (blocks.py)
    kept         on the CPU: 1.5 sum over sizes up to 32 MiB of most count x size, less what the moment has of them

glibc gives a freed block of more than 32 MiB back to the system (its DEFAULT_MMAP_THRESHOLD_MAX). Smaller ones stay in
the process, and a hole that one size left is seldom filled by another, so every size of them counts with its most, and
half as much again for what is left over where one was (fitted to the peaks of benchmarks/results/plan_memory.md).
CUDA's allocator frees what it keeps before it fails; nothing is added there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bifair_dist.cost.work import Work, ceil_div
from bifair_dist.planning.blocks import Counts, moments, sizes

MIB = 2**20
RETURNED = 32 * MIB
HOLES = 1.5
"""Memory of kept blocks over their bytes: without it peaks were 0.95 to 1.16 times the plan, with it 0.86 to 1.07."""
BASE = 430 * MIB
"""Resident memory of a worker without data: Python, torch and what both import (measured, benchmarks/results)."""
CONTEXT = 600 * MIB
"""A CUDA context with cuBLAS's, cuSPARSE's and NCCL's buffers: assumed, no GPU was at hand."""
TEXT = 72
"""Bytes of an id as a Python string with its place in an array: 8 + 49 + about 15 characters; titles take more."""

PARTS = {
    "item rows": "activations: hidden rows",
    "user rows": "activations: hidden rows",
    "items to pool": "activations: pooling",
    "items to pool, columns": "activations: pooling",
    "pooled users": "activations: pooling",
    "pooled users, columns": "activations: pooling",
    "item columns": "activations: propagation",
    "user columns": "activations: propagation",
    "batch rows": "batch",
    "scores": "logits",
    "touched rows": "rows of Z in a step",
    "inputs": "activations: nodes of a batch",
    "nodes' hidden rows": "activations: nodes of a batch",
    "fit": "activations: nodes of a batch",
    "all workers' nodes": "activations: nodes of a batch",
    "projector": "groups' gradients",
    "pairs": "sorting the pairs",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one part of a worker's memory; `host`: in the machine's memory even where the worker has a GPU.

    `disk`: in a file, which is no memory.
    """

    name: str
    n_bytes: int
    host: bool = False
    disk: bool = False


def parts(work: Work, *, keeps: bool = False, gpu: bool = False) -> list[Part]:
    """Parts of a worker's memory at the peak of a step, set-up included; what the settings leave out is absent.

    `keeps`: whether the allocator keeps freed blocks, as glibc does on the CPU. `gpu`: whether the graph is on one.
    """
    one, alive = sizes(work), _widest(work, keeps)
    passing: Counts = {}
    for kind, count in alive.items():
        if kind != "Z":
            passing[PARTS[kind]] = passing.get(PARTS[kind], 0) + count * one[kind]
    z, name = one["Z"], "the id embeddings" if work.ids else "Z"
    host, disk = work.z_at == "cpu", work.z_at == "disk"
    found = [
        Part(name, z, host, disk),
        Part(f"Adam's two moments of {name}", 2 * z * work.train_z, work.offload or host, disk),
        Part(f"gradient of {name}", z * (alive.get("Z", 0) > 0)),
        Part("hypergradient buffer", z * max(0, alive.get("Z", 0) - 1)),
        Part(f"running average of {name}", z * (work.average and work.train_z), host, disk),
        Part("users' fixed inputs", 0 if work.follow else one["fixed inputs"]),
        *(_cache(work, one) if work.interval else []),
        Part("graph", (8 + work.element) * work.n_pairs + (4 + work.element) * (work.n_items + work.n_users)),
        Part("pairs and known items", _pairs(work, gpu), True),
        *(Part(kind, n_bytes, kind == PARTS["pairs"]) for kind, n_bytes in passing.items()),
        Part("projector", 10 * one["projector"]),
        Part("freed, kept by glibc", _kept(work, alive) if keeps else 0),
    ]
    return [part for part in found if part.n_bytes]


def _pairs(work: Work, gpu: bool) -> int:
    """The pairs in order, int32, and what users have by user and by item. On the CPU the graph's own are these."""
    own = 8 + 4 * work.masked if gpu else 4
    return own * work.n_pairs + 8 * work.n_users * (work.masked and work.shared)


def _cache(work: Work, one: Counts) -> list[Part]:
    """What cached propagation keeps from refresh to refresh, and the counts by row of its Adam and average."""
    return [
        Part("cache: users' inputs", one["fixed inputs"] * work.follow),
        Part("cache: two passes", 2 * one["cached pass"] + 2 * work.element * (work.n_items + work.n_users)),
        Part("counts of the rows of Z", (4 + 8 * work.average) * work.m * work.train_z, work.z_at != "device"),
    ]


def _widest(work: Work, keeps: bool) -> Counts:
    """The moment with most bytes; of an allocator that keeps small blocks, with most in large ones."""
    one = sizes(work)

    def weight(counts: Counts) -> tuple[int, int]:
        large = sum(n * one[kind] for kind, n in counts.items() if one[kind] > RETURNED)
        return large if keeps else 0, sum(n * one[kind] for kind, n in counts.items())

    return max(moments(work).values(), key=weight)


def _kept(work: Work, alive: Counts) -> int:
    """Bytes of small blocks that other moments left behind."""
    one = sizes(work)

    def by_size(counts: Counts) -> Counter[int]:
        found: Counter[int] = Counter()
        for kind, n in counts.items():
            found[one[kind]] += n
        return found

    most: Counter[int] = Counter()
    for counts in moments(work).values():
        most |= by_size(counts)
    return int(HOLES * sum(size * n for size, n in (most - by_size(alive)).items() if size <= RETURNED))


def tables(work: Work) -> Part:
    """Ids, titles and the evaluation's pairs of a worker's own items; ids and titles guessed.

    The pairs twice (at test time those of validation are among them), and as much again while the second is made.
    """
    texts, pairs = TEXT * (2 * work.n_items + work.n_users), 24 * ceil_div(work.n_pairs, work.workers)
    return Part("ids, titles, evaluation", texts + pairs + 16 * work.n_users, True)


def total(found: list[Part], *, host: bool | None = None) -> int:
    """Bytes of all parts in memory, or of those on the host (or not) alone."""
    return sum(part.n_bytes for part in found if not part.disk and (host is None or part.host == host))
