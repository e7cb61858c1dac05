"""Rules as they were published: the recommender is trained with them, the item representations stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import Small, history_of, metrics_of, run, theta_of, vectors_of

from bifair_dist.bilevel.weights.registry import RULES


@pytest.mark.parametrize("rule", RULES)
def test_rule_trains_the_projector_alone(small: Small, tmp_path: Path, rule: str) -> None:
    changes: dict[str, Any] = {"training.method": "theta_only", "balance.rule": rule, "balance.fairness_strength": 1.0}
    if rule == "uniform":
        changes["model.projector"] = "linear"  # AlphaRec's other projector, once
    done = run(small, tmp_path / "runs", changes)
    history = history_of(done)
    assert [record["phase"] for record in history] == ["base", "fair_theta"]
    assert all(np.isfinite(record["loss"]) for record in history)
    assert (history[-1]["weights"] is None) == (rule == "ips")
    assert metrics_of(done)["before"]["test"] != metrics_of(done)["test"]
    assert np.array_equal(vectors_of(done / "item_representations"), vectors_of(small.representations))


def test_strength_is_the_dial_of_ips(small: Small, tmp_path: Path) -> None:
    """At 0 it is the plain loss bit by bit; and it reaches the trainer at all."""
    common = {"training.method": "theta_only", "balance.rule": "ips"}
    thetas = []
    for s, p in ((0.0, 0.5), (0.0, 2.0), (1.0, 0.5)):
        own = {"balance.fairness_strength": s, "balance.ips_power": p, "training.run_name": f"{s}-{p}"}
        thetas.append(theta_of(run(small, tmp_path / "runs", common | own)))
    assert all(np.array_equal(thetas[0][n], thetas[1][n]) for n in thetas[0])
    assert any(not np.array_equal(thetas[0][n], thetas[2][n]) for n in thetas[0])
