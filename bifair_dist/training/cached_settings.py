"""Cached propagation: how often the whole graph is propagated over, and what stands in for it between two times."""

from __future__ import annotations

from bifair_dist.settings import Settings, setting


class CachedSettings(Settings):
    """Cached propagation (model.propagation cached): refreshes, the fit of the drift, the finish of the base phase."""

    interval: int = setting(
        64,
        "steps between two full passes over the graph",
        unit="steps",
        why="a refresh of 1 M items takes as long as 30 steps; from 480 on the fit is too old",
        ge=1,
    )
    ridge: float = setting(
        1e-3,
        "penalty of the fitted map, times the sum of squares of each feature",
        unit="share",
        why="keeps directions that the batch says nothing of from being guessed; with 0 few nodes have no fit",
        gt=0,
    )
    history: int = setting(
        2,
        "items drawn of each user's history, through which its input's gradient goes back",
        unit="items",
        why="unbiased from 1 on; 2 halve the noise for a row of Z each",
        ge=1,
    )
    finish_epochs: int = setting(
        100,
        "most epochs at the end of the base phase with short intervals and a low rate; 0: none",
        unit="epochs",
        why="wins back the accuracy that old fits lose",
        ge=0,
    )
    finish_interval: int = setting(
        16, "steps between two full passes in the finish", unit="steps", why="shorter buys little", ge=1
    )
    finish_rate: float = setting(
        0.25,
        "learning rate of the finish, times training.theta_lr",
        unit="share",
        why="a slow projector drifts less between refreshes",
        gt=0,
    )
