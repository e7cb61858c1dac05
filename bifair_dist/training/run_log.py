"""Where a run's news goes: lines for a person, `history.jsonl` for a program, MLflow, Ray's gauges, the launcher."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bifair_dist.data.balanced import table_names
from bifair_dist.progress import time_left
from bifair_dist.runs import Metrics, Run, Validation, flat_numbers
from bifair_dist.runs.figures import by_group, final_figures, headline_figures, live_figures
from bifair_dist.runs.text import evaluation_line
from bifair_dist.tracking import Tracker
from bifair_dist.training.gauges import Gauges
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.watch import Watch


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
        self.run, self.rank, self.tracker, self.forward, self.echo = Run(folder), rank, tracker, forward, echo
        self.fence = fence
        self.phase_start, self.first_epoch = time.monotonic(), 0
        self.labels: dict[str, tuple[str, ...]] = {}
        self._watch, self._gauges = Watch(), Gauges(folder.name)
        self._steps_per_epoch = 0
        self._sent: Counter[str] = Counter()

    def resume(self, step: int) -> None:
        """Forget validations after `step` steps of the run: they come again, and each is recorded once."""
        if self.rank == 0:
            for validation in self.run.cut_history(step):
                if validation.z_drift is not None:  # not those of an earlier version
                    self._watch.add(validation)

    def say(self, line: str) -> None:
        """A line for a person, once over all workers."""
        if self.rank == 0:
            self.fence()
            self.run.append_log(line)
            if self.echo:
                print(line, flush=True)

    def begin(self, phase: Phase, problem: Problem, first_epoch: int = 0, step: int = 0) -> None:
        """Announce a phase, which starts at `first_epoch` (from 0) after `step` steps of the run."""
        what = " and ".join(n for n, moves in (("projector", phase.train_theta), ("Z", phase.train_z)) if moves)
        balance = problem.settings.balance
        self.labels = {balance.group: problem.balanced_labels}
        starting = "from" if balance.adapt and 0 < balance.fairness_strength < 1 else "at"
        fair = f"{balance.rule} over {balance.group} {starting} {balance.fairness_strength:g}"
        loss = fair if phase.fair else "plain loss"
        steps = self._steps_per_epoch = problem.sampler.steps_per_epoch
        self._sent = problem.comm.sent
        self.phase_start, self.first_epoch = time.monotonic(), first_epoch
        self._gauges.begin(step, self._sent.total())
        self.say(f"\nphase {phase.name}: {what}, {loss}, at most {phase.epochs} epochs of {steps} steps")

    def end(self, metrics: Metrics, tables: Sequence[str], step: int) -> None:
        """MLflow's files of the finished run; its figures, if tested: the first as metrics, all of them as tables."""
        for path in (self.run.config_file, self.run.metrics_file, self.run.history_file):
            self.tracker.artifact(path)
        if metrics.tested is None:
            return
        self.tracker.metrics(final_figures(metrics, tables), step)
        figures = {("", name): pair for name, pair in headline_figures(metrics).items()}
        for name, rows in (("figures", figures), ("groups", by_group(metrics))):
            self.tracker.table(
                f"{name}.json",
                {
                    **({"table": [table for table, _ in rows]} if name == "groups" else {}),
                    name.removesuffix("s"): [label for _, label in rows],
                    "before": [before for before, _ in rows.values()],
                    "after": [after for _, after in rows.values()],
                    "change": [
                        after / before - 1 if before and after is not None else None for before, after in rows.values()
                    ],
                },
            )

    def report(self, validation: Validation) -> None:
        """Record a validation."""
        if self.rank == 0:
            self.fence()
            self.run.append_validation(validation)
            self.tracker.metrics(live_figures(validation, self.labels), validation.step)
            self._gauges.set(validation, self.labels, self._steps_per_epoch, self._sent.total())
            epochs = validation.epochs - self.first_epoch
            left = time_left(validation.epoch - self.first_epoch, epochs, time.monotonic() - self.phase_start)
            self.say(
                f"  epoch {validation.epoch:>3}/{validation.epochs}  loss {validation.loss:.4f}  "
                f"{evaluation_line(validation.valid, table_names(validation.group))}  "
                f"{validation.seconds_per_epoch:.2f} s/epoch, "
                f"at most {left} left{'  best' if validation.best else ''}"
            )
            for line in self._watch.add(validation):
                self.say(f"  warning: {line}")
        if self.forward is not None:
            main = dict(validation.valid.accuracy)
            for name, table in validation.valid.groups.items():
                main |= {f"{name}/cv": table.cv, f"{name}/min": table.minimum}
            self.forward(flat_numbers({"loss": validation.loss, "epoch": validation.epoch, "valid": main}))
