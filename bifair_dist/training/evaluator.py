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
from bifair_dist.parallel.comm import Comm
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
        self.known = {"valid": pairs_of(n, train), "test": pairs_of(n, train, valid)}
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
        result = evaluate(items, mine, wanted, self.groups, n_items=n_items, comm=self.comm, k=self.k)
        return Evaluation(result, result.to_summary(), mine, items, scores)


def pairs_of(n_users: int, *splits: Interactions) -> Csr:
    """Items by user over the splits together, none where there are none."""
    none = np.empty(0, np.int64)
    user, item = (np.concatenate([none, *(getattr(s, name) for s in splits)]) for name in ("user", "item"))
    return Csr.of(torch.from_numpy(user), torch.from_numpy(item), n_users)
