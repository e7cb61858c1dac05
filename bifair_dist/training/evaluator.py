"""Validation and test of a state: propagate, rank the whole catalogue, measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, Interactions
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.metrics import EvaluationResult, evaluate
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.runs.summary import Summary

Split = Literal["valid", "test"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics over all users, and this worker's users with their lists: users [u], items and scores [u, k].


    `summary` is `result` as `metrics.json` has it.
    """

    result: EvaluationResult
    summary: Summary
    users: Tensor
    items: Tensor
    scores: Tensor


class Evaluator:
    """Full ranking against one dataset. At test time validation pairs are masked like training pairs."""

    def __init__(self, dataset: Dataset, comm: Comm, k: int) -> None:
        self.dataset, self.comm, self.k = dataset, comm, k
        train, valid, test = dataset.train, dataset.valid, dataset.test
        n = dataset.n_users
        # A worker ranks its own items for all users, and so needs what they have of these alone.
        own = row_range(dataset.n_items, comm.size, comm.rank)
        self.known = {"valid": pairs_of(n, train, items=own), "test": pairs_of(n, train, valid, items=own)}
        self.wanted = {"valid": pairs_of(n, valid), "test": pairs_of(n, test)}
        self.groups = [
            GroupMembership(
                name=t.name,
                entity=t.entity,
                labels=t.labels,
                entity_index=torch.from_numpy(t.entity_index),
                group_index=torch.from_numpy(t.group_index),
            )
            for t in dataset.groups.values()
        ]

    @torch.no_grad()
    def evaluate(self, model: Backbone, theta: Theta, z: Tensor, split: Split) -> Evaluation:
        """Rank for the users with pairs in `split`, and measure."""
        wanted, known = self.wanted[split], self.known[split]
        users = torch.nonzero(wanted.indptr[1:] > wanted.indptr[:-1]).squeeze(1)
        user_rows, item_rows = model.ranking_rows(theta, z)
        n_users, n_items = self.dataset.n_users, self.dataset.n_items
        items, scores, mine = full_ranking(
            user_rows,
            item_rows,
            n_users=n_users,
            n_items=n_items,
            known=known,
            users=users,
            k=self.k,
            comm=self.comm,
        )
        result = evaluate(
            items,
            mine,
            wanted,
            self.groups,
            n_items=n_items,
            comm=self.comm,
            k=self.k,
            popularity=popularity_of(self.dataset),
        )
        return Evaluation(result, result.to_summary(), mine, items, scores)


def popularity_of(dataset: Dataset) -> Tensor:
    """Training pairs by item, int64 [N]."""
    return torch.from_numpy(np.bincount(dataset.train.item, minlength=dataset.n_items))


def pairs_of(n_users: int, *splits: Interactions, items: tuple[int, int] | None = None) -> Csr:
    """Items by user over the splits together, none where there are none; of the items in a range where one is given."""
    none = np.empty(0, np.int32)
    user, item = [none], [none]
    for split in splits:
        here = slice(None) if items is None else (split.item >= items[0]) & (split.item < items[1])
        user.append(split.user[here])
        item.append(split.item[here])
    return Csr.over(torch.from_numpy(np.concatenate(user)), torch.from_numpy(np.concatenate(item)), n_users)
