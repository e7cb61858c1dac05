"""Epochs used, and the warning where a phase had to end while it was getting better."""

from __future__ import annotations

from pathlib import Path

from small_trials import summary

from bifair_dist.experiments.epochs import epochs_used, epochs_warning
from bifair_dist.runs import Run, Validation


def run(folder: Path, *phases: tuple[str, int, int, int]) -> Run:
    """A run with (phase, best epoch, last epoch, most epochs)."""
    folder.mkdir()
    found = Run(folder)
    for name, best, last, most in phases:
        for epoch in (best, last) if best < last else (last,):
            found.append_validation(Validation(name, epoch, epoch, 1.0, epoch == best, summary(0.5, 0.4), epochs=most))
    return found


def test_epochs_of_several_runs(tmp_path: Path) -> None:
    early = run(tmp_path / "early", ("base", 30, 45, 200), ("bilevel", 5, 10, 100))
    late = run(tmp_path / "late", ("base", 200, 200, 200), ("bilevel", 100, 100, 100))
    assert epochs_used([early, late]) == "base 45 to 200 of 200, bilevel 10 to 100 of 100"
    assert epochs_warning("AlphaRec", [early]) == ""
    line = epochs_warning("AlphaRec", [early, late])
    assert line.startswith(
        "AlphaRec: the best epoch of phase base (1 of 2 runs) and bilevel (1 of 2 runs) was its last"
    )
    assert line.endswith("raise --training.max_epochs and --training.bilevel_epochs")


def test_a_best_epoch_before_the_last_is_no_warning_though_all_epochs_were_used(tmp_path: Path) -> None:
    assert epochs_warning("m", [run(tmp_path / "run", ("base", 15, 20, 20))]) == ""


def test_a_run_that_was_stopped_at_its_best_epoch_is_not_warned_of(tmp_path: Path) -> None:
    assert epochs_warning("m", [run(tmp_path / "run", ("base", 5, 5, 20))]) == ""
