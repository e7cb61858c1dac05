"""How many epochs the phases of runs used, and which phases were still getting better when they had to end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from bifair_dist.runs import Run, Validation

LIMIT = {"base": "training.max_epochs", "finish": "cached.finish_epochs"}
"""The setting that limits a phase's epochs; of the fair phases `training.bilevel_epochs`."""


def epochs_used(runs: Sequence[Run]) -> str:
    """`base 45 to 60 of 200, bilevel 25 of 100`, over the runs."""
    lasts: dict[str, list[Validation]] = {}
    for run in runs:
        for phase, (_, last) in _phases(run).items():
            lasts.setdefault(phase, []).append(last)
    words = []
    for phase, found in lasts.items():
        least, most = min(v.epoch for v in found), max(v.epoch for v in found)
        words.append(f"{phase} {least if least == most else f'{least} to {most}'} of {max(v.epochs for v in found)}")
    return ", ".join(words)


def epochs_warning(name: str, runs: Sequence[Run]) -> str:
    """A line where a phase's best epoch was its last one in some of the runs: more epochs might change the figures."""
    short: dict[str, int] = {}
    for run in runs:
        for phase, (best, last) in _phases(run).items():
            if best.epoch == last.epoch >= last.epochs:
                short[phase] = short.get(phase, 0) + 1
    if not short:
        return ""
    phases = " and ".join(f"{phase} ({count} of {len(runs)} runs)" for phase, count in short.items())
    limits = " and ".join(dict.fromkeys(f"--{LIMIT.get(p, 'training.bilevel_epochs')}" for p in short))
    return f"{name}: the best epoch of phase {phases} was its last, so it was still getting better; raise {limits}"


def _phases(run: Run) -> dict[str, tuple[Validation, Validation]]:
    """The best and the last validation of each phase."""
    found = {}
    for phase, group in groupby(run.history, key=lambda v: v.phase):
        those = list(group)
        found[phase] = next(v for v in reversed(those) if v.best), those[-1]
    return found
