"""One training of a study: what it is, where it lies, what it found.

Started as a process of its own, `python -m bifair_dist.experiments.cell SETTINGS.yaml`, it trains.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bifair_dist.errors import run_job
from bifair_dist.experiments.definition import Point
from bifair_dist.runs import Run
from bifair_dist.settings import load, override
from bifair_dist.training.identity import identity
from bifair_dist.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Figures:
    """recall@K, ndcg@K, and CV and MIN of one group table."""

    recall: float
    ndcg: float
    cv: float
    minimum: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A training. `group`: the table that is balanced; empty for the plain loss, which serves all of them.

    `settings` are complete, with the run's place.
    """

    data: str
    group: str
    method: str
    point: Point
    seed: int
    settings: TrainSettings

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.settings.training.output) / self.settings.training.run_name

    @property
    def run(self) -> Run:
        """The run, begun or not."""
        return Run(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.run.finished

    @property
    def label(self) -> str:
        """For a person: `steam genre BiFair fairness_strength=0.3 seed 0`."""
        values = [f"{key.rpartition('.')[2]}={value}" for key, value in self.point.items()]
        return " ".join(w for w in (self.data, self.group, self.method, *values, f"seed {self.seed}") if w)

    def figures(self, split: str, group: str) -> Figures:
        """Of the finished run, for one group table; nan where a figure is not defined."""
        metrics = self.run.metrics
        found = metrics.valid if split == "valid" else metrics.test
        table = found.groups[group]
        cv, minimum = (float("nan") if v is None else v for v in (table.cv, table.minimum))
        return Figures(found.recall, found.ndcg, cv, minimum)


def placed(settings: TrainSettings, runs: Path, data: str, method: str) -> TrainSettings:
    """The settings with the run's place: a folder below `runs` that is named by what the numbers depend on."""
    name = f"{file_name(data)}-{file_name(method)}-s{settings.training.seed}-{identity(settings)}"
    place = {"training.output": str(runs), "training.run_name": name, "training.report": False}
    return override(settings, place)


def file_name(words: str) -> str:
    """A dataset's or method's name as part of a file name: what is no letter, digit, dot or dash becomes a dash."""
    return re.sub(r"[^\w.-]+", "-", words).strip("-")


def main() -> None:
    """Train as the settings file says."""
    from bifair_dist.training.launch import train

    train(load(TrainSettings(), sys.argv[1]), table=False)


if __name__ == "__main__":
    run_job(main)
