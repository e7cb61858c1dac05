"""The balance between groups over a training run: when to recompute weights, what to keep, how they enter the loss.

**Decision on the strength s.** The loss of a batch of B positives with losses l_i is

    L_fair = (1 - s) (1 / B) sum_i l_i + s sum_k w_k L_k,    L_k = mean of l_i over the n_k positives in group k

not sum_k ((1 - s) erm_k + s w_k) L_k. For groups that partition the items the two are equal, because sum_k (n_k / B)
L_k is the plain mean. With items in several groups or in none they differ, and only the first is exactly the plain
loss at s = 0, that of the baseline, whatever the group table.

Per positive: L_fair = sum_i a_i l_i with a_i = (1 - s) / B + s sum_{k in groups(i)} w_k / n_k. Counts and B are those
of the global batch, so partial sums over ranks add up to L_fair and no rank scales by the number of workers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bifair_dist.bilevel.weights.objectives import objective_weights
from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, normalised

Pairs = tuple[Tensor, Tensor]
"""Memberships of a batch: (example index int64[M], group index int64[M]); an example may appear 0..many times."""


LONGEST = math.log(99)
"""Log-odds between which an adapted strength stays: .01 and .99, from where it comes back within some validations."""


class GroupBalance:
    """Weights of G groups, kept over steps.

    `weights` and `raw` are float64[G] on the CPU: tiny, and the same on every rank. Until the first update they are
    uniform. A group absent from the batch at an update keeps the weight it had; the rule shares out the rest among
    those present. `streamed` float64[G] is a running average of the groups' losses, for the rule that asks for it, and
    `seen` float64[G] counts the updates that a group was present at.
    """

    def __init__(
        self,
        rule: WeightRule,
        *,
        strength: float,
        refresh_every: int,
        average: float,
        catalogue_sizes: Tensor,
        stream_rate: float = 0.1,
        inner: str = "fair",
        outer: str = "fair",
        outer_strength: float | None = None,
    ) -> None:
        """Set up.

        Args:
            rule: how weights follow from losses and gradients.
            strength: s in [0, 1]; 0 is the plain loss.
            refresh_every: steps between two recomputations.
            average: share of the old weights that stays at a recomputation, in [0, 1).
            catalogue_sizes: [G], items (or users) of each group in the whole data set.
            stream_rate: share of the present loss in the running average of a group's losses, in (0, 1].
            inner: what the inner level minimises: fair or plain (objectives.py).
            outer: what the outer level minimises: fair, plain, worst or cv.
            outer_strength: s of the outer level; None: as the inner one's, and adapted with it.
        """
        self.inner, self.outer, self.outer_strength = inner, outer, outer_strength
        self.rule = rule
        self.strength = strength
        self.refresh_every = refresh_every
        self.average = average
        self.stream_rate = stream_rate
        self.catalogue_sizes = catalogue_sizes.detach().to("cpu", torch.float64)
        self.n_groups = len(catalogue_sizes)
        self.raw = torch.full((self.n_groups,), 1.0 / self.n_groups, dtype=torch.float64)
        self.averaged = self.raw.clone()
        self.streamed = torch.zeros_like(self.raw)
        self.seen = torch.zeros_like(self.raw)

    @property
    def needs_gram(self) -> bool:
        """Whether `update` has to be given the Gram matrix."""
        return self.strength > 0 and self.rule.needs_gram

    @property
    def across(self) -> bool:
        """Whether the rows of that matrix are the inner level's gradients."""
        return self.rule.across

    @property
    def recent_losses(self) -> list[float | None]:
        """`streamed` without its start at 0: a mean of each group's latest losses; None where it has none."""
        share = 1.0 - (1.0 - self.stream_rate) ** self.seen
        return [float(loss / of) if of > 0 else None for loss, of in zip(self.streamed, share, strict=True)]

    def adapt(self, rate: float, shortfall: float) -> None:
        """Move the strength along its log-odds by -rate * shortfall; 0 and 1 stay, as does nan's.

            logit(s) <- logit(s) - rate * shortfall         the multiplier's ascent of a constrained problem

        Args:
            rate: 0 leaves the strength as it is.
            shortfall: share of the accuracy that is missing from what the budget keeps; negative: to spare
                (`evaluation.choice.shortfall`).
        """
        if 0 < self.strength < 1 and math.isfinite(shortfall):
            odds = math.log(self.strength / (1 - self.strength)) - rate * shortfall
            self.strength = 1 / (1 + math.exp(-min(max(odds, -LONGEST), LONGEST)))

    def due(self, step: int) -> bool:
        """Whether weights are recomputed at this step (from 0). Never at strength 0, where they play no part."""
        return self.strength > 0 and step % self.refresh_every == 0

    def update(self, losses: Tensor, gram: Tensor | None, counts: Tensor) -> Tensor:
        """Recompute from group losses [G], Gram matrix [G, G] and positives [G] of the global batch.

        Entries of absent groups (count 0) are not looked at. Returns `weights(present)`. Losses and Gram matrix have
        to be the same on every rank.
        """
        losses = losses.detach().to("cpu", torch.float64)
        counts = counts.detach().to("cpu", torch.float64)
        present = counts > 0
        if not present.any():
            return self.weights(present)
        old = self.raw[present]
        self.streamed = torch.where(present, self.streamed.lerp(losses, self.stream_rate), self.streamed)
        self.seen += present
        context = RuleContext(
            counts=counts[present],
            catalogue_sizes=self.catalogue_sizes[present],
            previous=normalised(old),
            streamed=self.streamed[present],
        )
        if gram is not None:
            gram = gram.detach().to("cpu", torch.float64)[present][:, present]
        solved = self.rule(losses[present], gram, context)
        # Where absent groups hold (nearly) all the weight, those present still need some to be distinguished later.
        share = old.sum().clamp_min(1.0 / self.n_groups)
        raw = self.raw.clone()
        raw[present] = share * solved
        self.raw = normalised(raw)
        self.averaged = normalised(self.average * self.averaged + (1.0 - self.average) * self.raw)
        return self.weights(present)

    def weights(self, present: Tensor) -> Tensor:
        """float64[G] for a step whose batch has the groups `present` (bool[G]): 0 for the absent, the others sum to 1.

        All zero for a batch in which no group is present.
        """
        present = present.detach().to("cpu", torch.bool)
        out = torch.zeros_like(self.averaged)
        if present.any():
            out[present] = normalised(self.averaged[present])
        return out

    @property
    def levels_differ(self) -> bool:
        """Whether the levels minimise different things, apart from their data."""
        return self.inner != self.outer or self.outer_strength is not None

    def objective(self, present: Tensor, outer: bool) -> tuple[Tensor, float]:
        """(c float64[G], s) of a level for a step whose batch has the groups `present` (bool[G]); c is 0 for absent."""
        name = self.outer if outer else self.inner
        strength = self.outer_strength if outer and self.outer_strength is not None else self.strength
        weights = self.weights(present)
        if name == "plain" or name == "fair" or not present.any():
            return weights, 0.0 if name == "plain" else strength
        recent = torch.tensor([math.nan if loss is None else loss for loss in self.recent_losses], dtype=torch.float64)
        present = present.detach().to("cpu", torch.bool)
        out = torch.zeros_like(weights)
        out[present] = objective_weights(name, recent[present], weights[present])
        return out, strength

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        kept = {"raw": self.raw, "averaged": self.averaged, "streamed": self.streamed, "seen": self.seen}
        return {name: tensor.clone() for name, tensor in kept.items()} | {
            "strength": torch.tensor(self.strength, dtype=torch.float64)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over `state_dict()` of a run with the same groups; ValueError for another number of groups."""
        if len(state["raw"]) != self.n_groups:
            raise ValueError(f"saved weights are for {len(state['raw'])} groups, this run has {self.n_groups}")
        self.raw = state["raw"].to("cpu", torch.float64).clone()
        self.averaged = state["averaged"].to("cpu", torch.float64).clone()
        for name in ("streamed", "seen"):  # checkpoints of earlier versions have none
            if name in state:
                setattr(self, name, state[name].to("cpu", torch.float64).clone())
        self.strength = float(state.get("strength", self.strength))


def group_losses(example_losses: Tensor, pairs: Pairs, counts: Tensor) -> Tensor:
    """L_k = (1 / n_k) sum of the losses in group k, [G]; 0 for absent groups. Differentiable.

    Args:
        example_losses: [B], this rank's slice of the batch.
        pairs: memberships of that slice.
        counts: n_k of the **global** batch, [G]; so the sum over ranks of what this returns is L_k.
    """
    example, group = pairs
    sums = example_losses.new_zeros(len(counts)).index_add(0, group, example_losses[example])
    return sums / counts.to(example_losses).clamp_min(1.0)


def example_coefficients(
    weights: Tensor, pairs: Pairs, counts: Tensor, batch_size: int, strength: float, n_examples: int | None = None
) -> Tensor:
    """a_i with L_fair = sum_i a_i l_i (head of this file): [n_examples], dtype and device of `weights`.

    Args:
        weights: [G], 0 for absent groups.
        pairs: memberships of this rank's slice of the batch.
        counts: n_k of the global batch, [G].
        batch_size: B of the global batch.
        strength: s.
        n_examples: length of this rank's slice; the whole batch if left out.
    """
    n_examples = batch_size if n_examples is None else n_examples
    plain = weights.new_full((n_examples,), (1.0 - strength) / batch_size)
    if strength == 0:
        return plain
    example, group = pairs
    per_group = strength * weights / counts.to(weights).clamp_min(1.0)
    return plain.index_add(0, example, per_group[group])
