"""The fold of an epoch (bilevel/fold.py) as samplers and graphs: what the two levels see in that epoch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bifair_dist.bilevel.fold import deal, strata_of
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.refresh import user_inputs
from bifair_dist.parallel.sampler import counter_generator
from bifair_dist.training.problem import Problem, backbone_on, sampler_of


class Folds:
    """Problems of single epochs. Every worker makes the same ones alone, from (seed, epoch).

    A user's pairs that are held out are still never its negatives in the inner level: nobody would push down a pair
    that comes back in the next epoch. `fixed_from` are rows of Z that users' inputs are pooled from once and for all;
    None where they follow Z. In each epoch they are pooled without the pairs held out.
    """

    def __init__(self, problem: Problem, fixed_from: Tensor | None) -> None:
        self.problem, self.fixed_from = problem, fixed_from
        pairs, membership = problem.dataset.train, problem.membership
        self.user, self.item = torch.from_numpy(pairs.user), torch.from_numpy(pairs.item)
        self.strata = torch.zeros(len(pairs), dtype=torch.int64)
        for entity, rows in membership.rows.items() if membership is not None else ():
            mine = strata_of(rows, self.item if entity == "item" else self.user)
            self.strata = self.strata * (int(mine.max()) + 1) + mine

    def in_epoch(self, epoch: int) -> Problem:
        """The problem whose inner level is without the epoch's fold, and whose outer level has the fold alone."""
        problem, settings = self.problem, self.problem.settings
        folds = settings.bilevel.folds
        generator = counter_generator(settings.training.seed, "folds", epoch // folds)
        held_out = deal(self.strata, folds, generator) == epoch % folds
        inner = (self.user[~held_out], self.item[~held_out])
        known = (problem.sampler.known_pairs, problem.sampler.users_of_items)
        make = partial(sampler_of, settings, problem.dataset, problem.comm, known)
        model = backbone_on(settings, problem.dataset, problem.comm, problem.device, *inner)
        if self.fixed_from is not None:
            assert isinstance(model, AlphaRec)
            with torch.no_grad():
                model = replace(model, user_inputs=user_inputs(model, self.fixed_from))
        return replace(
            problem,
            model=model,
            sampler=make(*inner, "train"),
            # A stream for each epoch: the outer level goes through its few pairs more than once in one.
            outer_sampler=make(self.user[held_out], self.item[held_out], f"outer {epoch}"),
        )
