"""Bootstrap confidence intervals over users, with Poisson(1) weights (Oza & Russell 2001; Chamandy et al. 2012).

Each replicate gives every user an independent Poisson(1) weight, which stands for how often the user is drawn. The
weight is a hash of (seed, replicate, global user index), so that it needs no communication and does not depend on how
users are spread over ranks. Replicated sums are reduced once over ranks and summarised like the sums themselves;
intervals are percentiles.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifair_dist.evaluation.metrics import EvaluationResult, summarise, user_columns
from bifair_dist.parallel.comm import Comm

_CHUNK = 1 << 22
"""Weights held at a time: 32 MiB, and a few times that while they are made."""

_POISSON_CDF = np.cumsum([math.exp(-1.0) / math.factorial(k) for k in range(18)])  # the next one is 1 in float64


def bootstrap_intervals(
    result: EvaluationResult, comm: Comm, *, seed: int, replicates: int = 500, level: float = 0.95
) -> dict[str, Any]:
    """Intervals [low, high] for accuracy and, per group table, for CV, MIN and each utility (recall and NDCG).

    Every rank calls this with its own `result`; the answer is the same on all. Keys as in `EvaluationResult.to_dict`;
    None where a value is not defined in any replicate.
    """
    figures = replicated_figures(result, comm, seed=seed, replicates=replicates)
    return {**percentile_intervals(figures, level), "level": level, "replicates": replicates}


def replicated_figures(result: EvaluationResult, comm: Comm, *, seed: int, replicates: int) -> dict[str, Any]:
    """Every figure in every replicate, float64 [replicates], nan where it is not defined; keys as the intervals have.

    Two results over the same users share their weights, so that figures of one may be compared with the other's.
    """
    sizes = tuple(len(table.labels) for table in result.tables)
    sums = comm.all_reduce_sum(_replicated_sums(result, sizes, seed, replicates), "bootstrap").cpu()
    accuracy, summaries = summarise(sums, sizes)
    groups = {}
    for table, summary in zip(result.tables, summaries, strict=True):
        groups[table.name] = {
            "cv": summary.cv,
            "min": summary.minimum,
            "utility": {label: summary.utility[:, g] for g, label in enumerate(table.labels)},
            "ndcg_cv": summary.ndcg_cv,
            "ndcg_min": summary.ndcg_minimum,
            "ndcg_utility": {label: summary.ndcg_utility[:, g] for g, label in enumerate(table.labels)},
        }
    return {**{f"{name}@{result.k}": values for name, values in accuracy.items()}, "groups": groups}


def percentile_intervals(figures: dict[str, Any], level: float) -> dict[str, Any]:
    """The same tree with [low, high] for the replicates of each figure; None where none of them is a number."""
    tail = (1.0 - level) / 2.0
    return {
        key: percentile_intervals(part, level) if isinstance(part, dict) else interval(part, tail)
        for key, part in figures.items()
    }


def poisson_weights(seed: int, replicates: NDArray[np.int64], users: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights float64[R, U] of global user indices in the given replicates."""
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.uint64(seed % 2**64)) + replicates.astype(np.uint64))
        bits = _mix(key[:, None] ^ _mix(users.astype(np.uint64))[None, :])
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(_POISSON_CDF, uniform, side="right").astype(np.float64)


def _mix(x: Any) -> Any:
    """SplitMix64 (Steele, Lea & Flood 2014): a bijection of 64-bit words, that scrambles its input."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _replicated_sums(result: EvaluationResult, sizes: tuple[int, ...], seed: int, replicates: int) -> Tensor:
    """This rank's users summed under each replicate's weights, float64[replicates, columns]."""
    users = result.per_user.users.cpu().numpy()
    device = result.per_user.recall.device
    width = user_columns(result.per_user, sizes, 0, 0).shape[1]
    sums = torch.zeros(replicates, width, dtype=torch.float64, device=device)
    step = max(_CHUNK // max(replicates, width), 1)
    for start in range(0, len(users), step):
        stop = min(start + step, len(users))
        weights = poisson_weights(seed, np.arange(replicates), users[start:stop])
        sums += torch.from_numpy(weights).to(device) @ user_columns(result.per_user, sizes, start, stop)
    return sums


def interval(values: Tensor, tail: float) -> list[float] | None:
    """The values with a share of `tail` below and above, [low, high], without nan; None where nothing is left."""
    values = values[~values.isnan()]
    if not len(values):
        return None
    ends = torch.quantile(values, torch.tensor([tail, 1.0 - tail], dtype=values.dtype))
    return [float(e) for e in ends]
