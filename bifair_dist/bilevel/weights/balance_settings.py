"""How the groups' losses are weighted against each other."""

from __future__ import annotations

from typing import Literal

from bifair_dist.data.balanced import table_names
from bifair_dist.settings import Settings, setting


class BalanceSettings(Settings):
    """Adaptive inter-group balance: weights on the groups' losses, recomputed as training goes."""

    group: str = setting(
        "genre",
        "group table of the dataset that training balances; several: genre,popularity; crossed: genre*popularity",
        unit="name",
        why="the default dataset has it",
    )
    rule: str = setting(
        "entropy",
        "how weights follow from the groups' losses and gradients; ips weights items by popularity and knows no groups",
        why="the paper's; erm is the plain loss",
    )
    fairness_strength: float = setting(
        0.3,
        "mix of the rule's weights with the plain loss: 0 is all accuracy, 1 all fairness",
        unit="share",
        why="where it begins; --balance.adapt moves it to what the accuracy budget allows",
        ge=0,
        le=1,
    )
    inner: Literal["fair", "plain"] = setting(
        "fair",
        "what the inner level minimises: the mix of plain loss and weighted groups, or the plain loss alone",
        why="the paper's",
    )
    outer: Literal["fair", "plain", "worst", "cv"] = setting(
        "fair",
        "what the outer level minimises: as the inner one; or the plain loss mixed with a smooth worst group or with "
        "the CV of the groups' losses",
        why="the paper's, both levels the same; no study compares the others",
    )
    outer_strength: float | None = setting(
        None,
        "the outer level's own mix, fixed; none: as --balance.fairness_strength, and adapted with it",
        unit="share",
        why="one setting for both",
        ge=0,
        le=1,
    )
    adapt: float = setting(
        10.0,
        "how fast the strength follows the accuracy budget: at each validation its log-odds rise by this times the "
        "share of Recall and NDCG that is left of the budget, and fall where it is overdrawn; 0: fixed",
        unit="log-odds per share",
        why="the best strength differs by a catalogue's size and groups; 1 % to spare adds a tenth",
        ge=0,
    )
    losses: Literal["outer", "inner"] = setting(
        "outer",
        "whose group losses the rule sees: those on the outer level's pairs, or on the inner level's batch",
        why="training losses say which group is learnt by heart, not which one is served badly",
    )
    accuracy_budget: float = setting(
        0.01,
        "share of AlphaRec's validation Recall and NDCG that may be lost; the fairest state within it is kept",
        unit="share",
        why="a loss that users hardly notice; AlphaRec's own state is kept where nothing fairer fits",
        ge=0,
        lt=1,
    )
    interpolation: float | None = setting(
        None,
        "state to keep between AlphaRec's (0) and the fair phases' end (1); none: the fairest on validation "
        "within the accuracy budget",
        unit="share of the way",
        why="the middle is often better than both ends",
        ge=0,
        le=1,
    )
    stream_rate: float = setting(
        0.1,
        "share of the present loss in the running average of a group's losses, which streaming_dro weighs by",
        unit="share",
        why="that of Acharya et al. (ECIR 2025)",
        gt=0,
        le=1,
    )
    refresh: int = setting(
        10,
        "steps between two recomputations of the weights",
        unit="steps",
        why="the groups' gradients change slowly and cost one backward pass each",
        ge=1,
    )
    average: float = setting(
        0.0,
        "moving average: share of the old weights that stays at a recomputation",
        unit="share",
        why="off; raise it where weights jump",
        ge=0,
        lt=1,
    )

    @property
    def tables(self) -> tuple[str, ...]:
        """The balanced group tables, also those of a crossing."""
        return table_names(self.group)
