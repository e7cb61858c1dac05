"""A finished run with its settings, as a report reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifair_dist.runs import Metrics, Provenance, Run, Validation
from bifair_dist.settings import load
from bifair_dist.training.front_files import FRONT
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a report reads of a run, apart from lists and vectors, each file once."""

    run: Run
    settings: TrainSettings
    metrics: Metrics
    history: list[Validation]
    provenance: Provenance
    warnings: list[str]
    front: dict[str, Any] | None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    @property
    def tables(self) -> list[str]:
        """The group tables that training balanced; where it balanced none, the one that its lines showed."""
        there = list(self.metrics.test.groups)
        return [name for name in self.settings.balance.tables if name in there] or there[:1]

    @property
    def group(self) -> str:
        """The first of `tables`; empty where there is none."""
        return next(iter(self.tables), "")

    @property
    def first_vectors(self) -> Path | None:
        """The folder of the vectors that the run began with; None where it began at random."""
        return method_of(self.settings).vectors(self.settings)


def read_run(folder: Path) -> RunFiles:
    """Read it. Raises `UserError` where the folder is no finished run."""
    run = Run.finished_in(folder)
    settings = load(TrainSettings(), run.config_file)
    return RunFiles(run, settings, run.metrics, run.history, run.provenance, run.warnings, _front(run.folder / FRONT))


def _front(path: Path) -> dict[str, Any] | None:
    """The states between AlphaRec's and the fair end; None for a run without fair phases, and for a damaged file."""
    try:
        front = json.loads(path.read_text(encoding="utf-8"))
        return {name: front[name] for name in ("accuracy_budget", "tables", "kept", "points")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
