"""How a bi-level training goes wrong, reported while it runs (the failure signatures of arXiv 2507.04294).

    divergence            the loss climbs, or Z runs away from where it began (normalising hides that from the loss)
    trivial weights       half of the groups or more have none
    accuracy collapse     the fair phase loses a tenth of the accuracy that it began with
    poor fit              cached propagation explains less than half of the drift since its last refresh
    harmed table          a group table that is not balanced gets clearly less fair
    stalled outer loop    Z hardly moves; or it moves and fairness does not

Each is looked for in the validations of a phase so far, so that a run that goes on after a cut warns of the same.
docs/failures.md shows what they look like and says what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bifair_dist.data.balanced import table_names
from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.runs import Validation, spread

SAMPLE = 1024
"""Rows of Z whose way is followed: over the whole catalogue, whatever the number of workers."""

IN_A_ROW = 3
"""Validations in a row before something counts: a single one dips for noise, the first for the warm start."""

PATIENT = 6
"""Validations that the outer loop gets to show something."""

LEAST_FIT = 0.5
"""Share of the drift's squares that a fit has to explain: below it a batch sees mostly its own nodes' drift."""

CLIMB, RUNAWAY, WEIGHTLESS, COLLAPSE, STILL, SAME = 1.5, 3.0, 0.01, 0.9, 1e-3, 0.02


class Drift:
    """How far Z is from where the run began: ||Z - Z0|| / ||Z0||, Frobenius, over at most 1,024 rows of all workers."""

    def __init__(self, z: Tensor, n_items: int, comm: Comm) -> None:
        start, stop = row_range(n_items, comm.size, comm.rank)
        sample = torch.arange(min(SAMPLE, n_items)) * n_items // min(SAMPLE, n_items)
        self.rows = (sample[(sample >= start) & (sample < stop)] - start).to(z.device)
        self.first = z.detach()[self.rows].clone()

    def squares(self, z: Tensor) -> Tensor:
        """(||Z - Z0||^2, ||Z0||^2) over this worker's rows of the sample, float64 [2]; to be summed over workers."""
        moved = (z.detach()[self.rows] - self.first).double().square().sum()
        return torch.stack([moved, self.first.double().square().sum()]).cpu()


class Watch:
    """The validations of the present phase, and which kinds of signs were reported: each is reported once."""

    def __init__(self) -> None:
        self._records: list[Validation] = []
        self._said: set[str] = set()

    def add(self, record: Validation) -> list[str]:
        """Take in a validation; the lines of kinds that this phase has not shown before."""
        if self._records and self._records[-1].phase != record.phase:
            self._records, self._said = [], set()
        self._records.append(record)
        found = signs(self._records)
        fresh = [line for kind, line in found.items() if kind not in self._said]
        self._said |= found.keys()
        return fresh


def signs(records: Sequence[Validation]) -> dict[str, str]:
    """What looks wrong after these validations of one phase (history.jsonl), by kind; a line each."""
    if not records:
        return {}
    found: dict[str, str] = {}
    now, lately = records[-1], records[-IN_A_ROW:]
    drift = now.z_drift or 0.0
    lowest = min(r.loss for r in records)
    if len(lately) == IN_A_ROW and all(r.loss > CLIMB * lowest for r in lately):
        found["climb"] = (
            f"the loss climbs: {now.loss:.3g} after {lowest:.3g}; lower --bilevel.eta, --bilevel.theta_lr or "
            "--training.theta_lr"
        )
    if drift > RUNAWAY:
        found["runaway"] = (
            f"Z is {drift:.1f} times its own length away from where it began, and what the language model "
            "knew is gone; lower --bilevel.eta"
        )
    fits = [r.fit for r in lately if r.fit is not None]
    if len(fits) == IN_A_ROW and all(fit < LEAST_FIT for fit in fits):
        found["fit"] = (
            f"the fit of cached propagation explains {fits[-1]:.2f} of the drift only; lower --cached.interval"
        )
    began = now.began_with
    if began is None:
        return found
    if len(lately) == IN_A_ROW and (harmed := set.intersection(*(set(r.harmed) for r in lately))):
        found["harmed"] = (
            f"{', '.join(sorted(harmed))}: CV is more than 10 % above what it was, and is not balanced; choose it with "
            "--balance.group, or lower --balance.fairness_strength"
        )
    weights = [r.weights for r in lately if r.weights is not None]
    if len(weights) == IN_A_ROW and len(weights[0]) > 2 and all(2 * _weightless(w) >= len(w) for w in weights):
        found["trivial"] = (
            f"{_weightless(weights[-1])} of the {len(weights[-1])} groups of {now.group} have no weight and are "
            "ignored; raise --balance.entropy_floor, or choose --balance.rule uniform"
        )
    if len(lately) == IN_A_ROW and all(_accuracy(r, began.metric) < COLLAPSE * began.value for r in lately):
        found["collapse"] = (
            f"{began.metric} fell from {began.value:.4f} to {_accuracy(now, began.metric):.4f}; lower "
            "--balance.fairness_strength or --bilevel.eta"
        )
    patiently = records[-PATIENT:]
    if len(records) >= PATIENT and now.moves_z and drift < STILL:
        found["still"] = (
            f"Z hardly moves ({drift:.1e} of its length so far), so prior unfairness stays; raise --bilevel.eta"
        )
    elif len(patiently) == PATIENT and began.cv is not None and all(_cv(r) > (1 - SAME) * began.cv for r in patiently):
        found["unfair"] = (
            f"the CV of {now.group} does not fall ({began.cv:.4f} before, {_cv(now):.4f} now); raise "
            "--balance.fairness_strength, or try another --balance.rule"
        )
    return found


def _weightless(weights: Sequence[float]) -> int:
    """Groups with less than a hundredth of an even weight."""
    return sum(w < WEIGHTLESS / len(weights) for w in weights)


def _cv(validation: Validation) -> float:
    value = spread(validation.valid, table_names(validation.group))[0]
    return 0.0 if value is None else value


def _accuracy(validation: Validation, metric: str) -> float:
    value = validation.valid.accuracy[metric]
    return 0.0 if value is None else value
