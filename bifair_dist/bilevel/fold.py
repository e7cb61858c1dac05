"""Which training pairs the upper level holds out: another share in every epoch, none lost over the epochs.

    fold(pair) in 0 .. F - 1, dealt anew every F epochs;     epoch t: outer level fold t mod F, inner level the others

Both levels on the same pairs make bi-level training joint training: at theta's optimum the second-order term is all
that tells them apart. Pairs that the lower level does not see say what generalises. The deal goes through the pairs
stratum by stratum, as dealing cards does, so that each fold has its share of every group, to one pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.csr import Csr


def deal(strata: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """Fold of each pair, int64 [E] in 0 .. folds - 1.

    Of any two folds, and of their pairs in one stratum, the sizes differ by at most one.

    Args:
        strata: int64 [E], the stratum of each pair.
        folds: F >= 2.
        generator: decides which pairs of a stratum meet in a fold; the same on every worker.
    """
    shuffled = torch.randperm(strata.numel(), generator=generator)
    order = shuffled[torch.argsort(strata[shuffled], stable=True)]
    fold = torch.empty_like(order)
    fold[order] = torch.arange(order.numel()) % folds
    return fold


def strata_of(groups: Csr, entities: Tensor) -> Tensor:
    """The set of groups of each pair's item (or user) as one number, int64 [E]: entities alike share a stratum.

    Args:
        groups: the groups of each entity, [N] rows.
        entities: int64 [E], the item (or user) of each pair.
    """
    row, group = groups.expand(torch.arange(groups.indptr.numel() - 1))
    # Sums of random 62-bit numbers, one for each group: two different sets share one with a chance of 2^-62.
    numbers = torch.randint(1 << 62, (int(group.max()) + 1 if group.numel() else 1,), generator=_fixed())
    sets = torch.zeros(groups.indptr.numel() - 1, dtype=torch.int64).index_add(0, row, numbers[group])
    return torch.unique(sets, return_inverse=True)[1][entities]


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)
