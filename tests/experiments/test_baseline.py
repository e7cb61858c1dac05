"""The baseline that the trials of sweeps share, and trainings that are not tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import Small, quick

from bifair_dist.errors import UserError
from bifair_dist.experiments.sweep import baseline
from bifair_dist.experiments.trial import Figures
from bifair_dist.runs import Run
from bifair_dist.runs.text import before_after
from bifair_dist.settings import override
from bifair_dist.training.launch import train
from bifair_dist.training.settings import TrainSettings


def test_sweeps_that_differ_in_the_fair_phase_only_share_a_baseline(small: Small, tmp_path: Path) -> None:
    """Trained once; each reads the figures of its own group table from it."""
    first = quick(small, tmp_path / "runs", {"training.bilevel_epochs": 7, "balance.group": "popularity"})
    second = first | {"training.bilevel_epochs": 3, "bilevel.eta": 1e-4, "balance.group": "genre"}
    bases = [override(TrainSettings(), changes) for changes in (first, second)]
    one, two = (baseline(base, tmp_path / "baselines") for base in bases)
    found = [Figures.of(t.run.metrics.valid, t.settings.balance.group) for t in (one, two)]
    assert one.folder == two.folder and found[0].recall == found[1].recall and found[0].cv != found[1].cv
    assert "popularity CV" in one.run.log_file.read_text()  # the table that was asked for, not the default one
    other = baseline(override(bases[0], {"training.theta_lr": 5e-4}), tmp_path / "baselines")
    assert other.folder != one.folder


def test_a_training_that_is_not_tested_has_no_test_figures_anywhere(small: Small, tmp_path: Path) -> None:
    settings = override(TrainSettings(), quick(small, tmp_path / "runs", {"training.test": False}))
    run = Run(train(settings))
    text = run.metrics_file.read_text()
    assert '"valid"' in text and '"before"' in text and '"test"' not in text
    assert not run.recommendations.exists() and not run.recommendations_before.exists()
    assert before_after(run.metrics, "genre").startswith("validation")
    with pytest.raises(UserError, match="no test figures"):
        _ = run.metrics.test
