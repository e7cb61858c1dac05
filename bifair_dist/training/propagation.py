"""Full or cached propagation, where the settings leave it open.

full      a pass projects and propagates all N + U nodes
cached    a pass does so with the batch's, at most 2 B + K; a refresh with all nodes, once in R steps for all of the
          P passes of a step (a bi-level step has 8, forward and back; the others 2)
"""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

WORTH = 4.0
"""Cached propagation loses a little accuracy and takes more epochs (docs/scale.md), so it has to save this factor."""
PASSES = {"bifair": 8, "separate": 4}


def serves_cached(settings: TrainSettings) -> bool:
    """Whether these settings could train on cached propagation, as `TrainSettings.check` has it."""
    training = settings.training
    plain = training.strategy == "ddp" and training.precision == "full" and not training.id_embeddings
    return plain and settings.bilevel.outer_data != "fold"


def settle_propagation(settings: TrainSettings, n_items: int, n_users: int) -> tuple[TrainSettings, str]:
    """The settings with `auto` decided, and a line that says what was taken and why; empty where nothing was open."""
    model, training = settings.model, settings.training
    if model.propagation != "auto":
        return settings, ""
    taken: Literal["full", "cached"] = "full"
    if not serves_cached(settings):
        why = "the method, strategy, precision or outer data asked for has no cached propagation"
    else:
        all_nodes, per_example = n_items + n_users, model.negative_sampling == "per_example"
        asked = training.batch * (2 + model.negatives * per_example) + model.negatives * (not per_example)
        rows = min(asked, all_nodes) + all_nodes / (settings.cached.interval * PASSES.get(training.method, 2))
        ratio = all_nodes / rows
        taken = "cached" if ratio >= WORTH else "full"
        why = f"a full pass has {ratio:.1f} times the nodes of a cached one, {WORTH:g} are taken to be worth it"
    decided = override(settings, {"model.propagation": taken})
    return decided, f"model.propagation auto: {taken} ({why})"
