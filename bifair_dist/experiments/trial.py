"""One training of an experiment: what it is, where it lies, how it ended and what it found."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifair_dist.data.balanced import table_names
from bifair_dist.files import write_json
from bifair_dist.runs import Run, Summary, best_so_far, spread
from bifair_dist.settings import override
from bifair_dist.training.identity import identity
from bifair_dist.training.settings import TrainSettings

Point = dict[str, Any]
"""Values of the settings that are searched, by dotted key."""
FAILED = "failed.json"


@dataclass(frozen=True, slots=True)
class Figures:
    """recall@K, ndcg@K, and CV and MIN of one group table; nan where a figure is not defined."""

    recall: float
    ndcg: float
    cv: float
    minimum: float

    @classmethod
    def of(cls, found: Summary, group: str) -> Figures:
        """From an evaluation; of several tables in the text `group` the means."""
        cv, minimum = (float("nan") if v is None else v for v in spread(found, table_names(group)))
        return cls(found.recall, found.ndcg, cv, minimum)


@dataclass(frozen=True, slots=True)
class Trial:
    """`settings` are complete, with the run's place; `point` are those of them that are searched.

    `dataset`, `group`, `method`: names for a person; `group` is empty for the plain loss, which serves every table.
    `error`: why it failed, as whoever ran it knows.
    """

    settings: TrainSettings
    point: Point
    dataset: str = ""
    group: str = ""
    method: str = ""
    error: str = ""

    @property
    def run(self) -> Run:
        """The run, begun or not."""
        return Run(Path(self.settings.training.output) / self.settings.training.run_name)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder

    @property
    def seed(self) -> int:
        """The training's seed."""
        return self.settings.training.seed

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.run.finished

    @property
    def reason(self) -> str:
        """Why it failed; empty where it did not."""
        failed = self.folder / FAILED
        return json.loads(failed.read_text(encoding="utf-8"))["reason"] if failed.is_file() else self.error

    @property
    def status(self) -> str:
        """`finished`, `failed` or `stopped`, which is early."""
        return "finished" if self.finished else "failed" if self.reason else "stopped"

    @property
    def label(self) -> str:
        """For a person: `steam genre BiFair fairness_strength=0.3 seed 0`."""
        values = [f"{key.rpartition('.')[2]}={value}" for key, value in self.point.items()]
        return " ".join(w for w in (self.dataset, self.group, self.method, *values, f"seed {self.seed}") if w)

    @property
    def valid(self) -> Summary | None:
        """Validation of the state that was kept, or would be if the training ended now; None before the first one."""
        if self.finished:
            return self.run.metrics.valid
        history = self.run.history
        return best_so_far(history).valid if history else None

    def tested(self, group: str) -> Figures:
        """Test figures of the finished run for one group table. Raises `UserError` where it is not tested."""
        return Figures.of(self.run.metrics.test, group)

    def states(self, group: str) -> list[Figures]:
        """Validation figures of the finished run's states between AlphaRec's and the fair end; else of its own one."""
        from bifair_dist.training.front_files import FRONT

        front = self.folder / FRONT
        if not front.is_file():
            return [Figures.of(self.run.metrics.valid, group)]
        points = json.loads(front.read_text(encoding="utf-8"))["points"]
        return [Figures.of(Summary.from_json(point["valid"]), group) for point in points]


def leave_reason(folder: Path, reason: str) -> None:
    """Keep why the training of this folder failed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FAILED, {"reason": reason})


def placed(settings: TrainSettings, runs: Path, *names: str) -> TrainSettings:
    """The settings with the run's place: a folder below `runs` that is named by what the numbers depend on."""
    words = [*map(file_name, names), *([f"s{settings.training.seed}"] if names else []), identity(settings)]
    place = {"training.output": str(runs), "training.run_name": "-".join(words), "training.report": False}
    return override(settings, place)


def file_name(words: str) -> str:
    """A dataset's or method's name as part of a file name: what is no letter, digit, dot or dash becomes a dash."""
    return re.sub(r"[^\w.-]+", "-", words).strip("-")
