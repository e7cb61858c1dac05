"""Trainings as processes of this machine, several at a time; a failure is reported and does not stop the others.

Started as such a process, `python -m bifair_dist.experiments.local SETTINGS.yaml`, it trains.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from bifair_dist.commit import ROOT
from bifair_dist.errors import run_job
from bifair_dist.experiments.settings import StudySettings
from bifair_dist.experiments.trial import Trial
from bifair_dist.progress import duration, time_left
from bifair_dist.settings import load, to_yaml
from bifair_dist.training.settings import TrainSettings


class Local:
    """Trains what is not finished. `failed`: reason by run folder; `late`: whether time ran out."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.failed: dict[Path, str] = {}
        self.late = False
        self._start = time.monotonic()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def ended(self, trials: Sequence[Trial]) -> bool:
        """Whether each of them finished or failed."""
        return all(trial.finished or trial.folder in self.failed for trial in trials)

    def run(self, stage: str, trials: Sequence[Trial]) -> list[Trial]:
        """Train what is missing; the same training is asked for once. Prints a line for each that ends.

        Returns the trials with their reasons, where they failed.
        """
        there = {trial.folder: trial for trial in trials}
        todo = [trial for trial in there.values() if not trial.finished and trial.folder not in self.failed]
        print(f"{stage}: {len(there) - len(todo)} of {len(there)} trainings are there", flush=True)
        begun, ended = time.monotonic(), 0
        with ThreadPoolExecutor(self.settings.concurrent) as pool:
            try:
                tasks = {pool.submit(self._train, trial): trial for trial in todo}
                for task in as_completed(tasks):
                    trial, seconds = tasks[task], task.result()
                    if seconds is None:
                        continue
                    ended += 1
                    left = time_left(ended, len(todo), time.monotonic() - begun)
                    reason = self.failed.get(trial.folder)
                    state = f"FAILED: {reason}" if reason else f"done in {duration(seconds)}"
                    print(f"{stage} {ended}/{len(todo)}: {trial.label}: {state}; {left} left", flush=True)
            except BaseException:
                self._stop()
                raise
        return [replace(trial, error=self.failed.get(trial.folder, "")) for trial in trials]

    def _train(self, trial: Trial) -> float | None:
        """Seconds that it took; None where it was not begun."""
        start, limit = time.monotonic(), 60 * self.settings.stop_after
        if self._stopping or (limit and start - self._start > limit):
            self.late = True
            return None
        runs, name = trial.folder.parent, trial.folder.name
        runs.mkdir(parents=True, exist_ok=True)
        config, log = runs / f"{name}.yaml", runs / f"{name}.log"
        config.write_text(to_yaml(trial.settings), encoding="utf-8")
        threads = str(self.settings.threads)
        # The package may be used from its checkout, where the process would not find it by itself.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": path}
        command = [sys.executable, "-m", "bifair_dist.experiments.local", str(config)]
        with log.open("wb") as file:
            # A group of its own: Ctrl-C reaches this process alone, which ends the others once.
            process = subprocess.Popen(command, stdout=file, stderr=file, env=env, process_group=0)
            with self._lock:
                self._running.add(process)
                if self._stopping:
                    process.terminate()
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        if code and not self._stopping:
            self.failed[trial.folder] = f"{_last_line(log)} ({log})"
        return time.monotonic() - start

    def _stop(self) -> None:
        """End what runs; each training leaves a state that the same command goes on from."""
        with self._lock:
            self._stopping = True
            for process in self._running:
                process.terminate()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "ended without a word"


def main() -> None:
    """Train as the settings file says."""
    from bifair_dist.training.launch import train

    train(load(TrainSettings(), sys.argv[1]), table=False)


if __name__ == "__main__":
    run_job(main)
