"""A finished run with its settings, as a report reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bifair_dist.runs import Metrics, Provenance, Run, Validation
from bifair_dist.settings import load
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

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    @property
    def group(self) -> str:
        """The group table that training balanced; where it balanced none, the one that its lines showed."""
        tables = self.metrics.test.groups
        name = self.settings.balance.group
        return name if name in tables else next(iter(tables), "")

    @property
    def first_vectors(self) -> Path | None:
        """The folder of the vectors that the run began with; None where it began at random."""
        return method_of(self.settings).vectors(self.settings)


def read_run(folder: Path) -> RunFiles:
    """Read it. Raises `UserError` where the folder is no finished run."""
    run = Run.finished_in(folder)
    settings = load(TrainSettings(), run.config_file)
    return RunFiles(run, settings, run.metrics, run.history, run.provenance, run.warnings)
