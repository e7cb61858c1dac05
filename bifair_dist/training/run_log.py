"""Where a run's news goes: lines for a person, `history.jsonl` for a program, MLflow, the launcher's own report."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bifair_dist.progress import duration
from bifair_dist.report.table import evaluation_line
from bifair_dist.tracking import Tracker
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.watch import Watch

LOG_FILE = "train.log"


class RunLog:
    """Called on every worker; the first one writes `train.log`, `history.jsonl` and MLflow."""

    def __init__(
        self,
        folder: Path,
        rank: int,
        tracker: Tracker,
        forward: Callable[[dict[str, float]], None] | None = None,
        echo: bool = True,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.rank, self.tracker, self.forward, self.echo = folder, rank, tracker, forward, echo
        self.fence = fence
        self.phase_start, self.first_epoch = time.monotonic(), 0
        self._watch = Watch()

    def resume(self, step: int) -> None:
        """Forget validations after `step` steps of the run: they come again, and each is recorded once."""
        path = self.folder / "history.jsonl"
        if self.rank != 0 or not path.exists():
            return
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        part = path.with_name(path.name + ".part")
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        os.replace(part, path)
        for record in map(json.loads, kept):
            if "z_drift" in record:  # not those of an earlier version
                self._watch.add(record)

    def say(self, line: str) -> None:
        """A line for a person, once over all workers."""
        if self.rank == 0:
            self._append(LOG_FILE, line)
            if self.echo:
                print(line, flush=True)

    def begin(self, phase: Phase, problem: Problem, first_epoch: int = 0) -> None:
        """Announce a phase, which starts at `first_epoch` (from 0)."""
        what = " and ".join(n for n, moves in (("projector", phase.train_theta), ("Z", phase.train_z)) if moves)
        balance = problem.settings.balance
        loss = f"{balance.rule} over {balance.group} at {balance.fairness_strength:g}" if phase.fair else "plain loss"
        steps = problem.sampler.steps_per_epoch
        self.phase_start, self.first_epoch = time.monotonic(), first_epoch
        self.say(f"\nphase {phase.name}: {what}, {loss}, at most {phase.epochs} epochs of {steps} steps")

    def report(self, record: dict[str, Any]) -> None:
        """Record a validation."""
        if self.rank == 0:
            self._append("history.jsonl", json.dumps(record))
            self.tracker.metrics(flat_numbers(record), record["step"])
            spent = time.monotonic() - self.phase_start
            left = spent / max(1, record["epoch"] - self.first_epoch) * (record["epochs"] - record["epoch"])
            self.say(
                f"  epoch {record['epoch']:>3}/{record['epochs']}  loss {record['loss']:.4f}  "
                f"{evaluation_line(record['valid'], record['group'])}  {record['seconds_per_epoch']:.2f} s/epoch, "
                f"at most {duration(left)} left{'  best' if record['best'] else ''}"
            )
            for line in self._watch.add(record):
                self.say(f"  warning: {line}")
        if self.forward is not None:
            main = {name: v for name, v in record["valid"].items() if "@" in name}
            for name, table in record["valid"]["groups"].items():
                main |= {f"{name}/cv": table["cv"], f"{name}/min": table["min"]}
            self.forward(flat_numbers({"loss": record["loss"], "epoch": record["epoch"], "valid": main}))

    def _append(self, name: str, line: str) -> None:
        self.fence()
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _step_of(line: str) -> float:
    """The step of a validation's record; infinite for a line that was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def flat_numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """Numbers of a nested record under names joined by `/`; the rest is left out."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(i), v) for i, v in enumerate(value))  # type: ignore[assignment]
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return {prefix: float(value)} if number else {}
    return {
        k: v for name, part in items for k, v in flat_numbers(part, f"{prefix}/{name}" if prefix else str(name)).items()
    }
