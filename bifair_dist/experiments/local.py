"""Trainings run as processes, several at a time; one that fails is told and does not stop the others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from bifair_dist.commit import ROOT
from bifair_dist.experiments.cell import Cell
from bifair_dist.experiments.settings import StudySettings
from bifair_dist.progress import duration, time_left
from bifair_dist.settings import to_yaml


class Runner:
    """Runs cells that are not finished. `failed`: reason by run folder; `late`: whether time ran out."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.failed: dict[Path, str] = {}
        self.late = False
        self._start = time.monotonic()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def ended(self, cells: Sequence[Cell]) -> bool:
        """Whether each of them finished or failed."""
        return all(cell.finished or cell.folder in self.failed for cell in cells)

    def run(self, stage: str, cells: Sequence[Cell]) -> None:
        """Train what is missing; the same training is asked for once. Prints a line for each that ends."""
        there = {cell.folder: cell for cell in cells}
        todo = [cell for cell in there.values() if not cell.finished and cell.folder not in self.failed]
        print(f"{stage}: {len(there) - len(todo)} of {len(there)} trainings are there", flush=True)
        begun, ended = time.monotonic(), 0
        with ThreadPoolExecutor(self.settings.concurrent) as pool:
            try:
                tasks = {pool.submit(self._train, cell): cell for cell in todo}
                for task in as_completed(tasks):
                    cell, seconds = tasks[task], task.result()
                    if seconds is None:
                        continue
                    ended += 1
                    left = time_left(ended, len(todo), time.monotonic() - begun)
                    reason = self.failed.get(cell.folder)
                    state = f"FAILED: {reason}" if reason else f"done in {duration(seconds)}"
                    print(f"{stage} {ended}/{len(todo)}: {cell.label}: {state}; {left} left", flush=True)
            except BaseException:
                self._stop()
                raise

    def _train(self, cell: Cell) -> float | None:
        """Seconds that it took; None where it was not begun."""
        start, limit = time.monotonic(), 60 * self.settings.stop_after
        if self._stopping or (limit and start - self._start > limit):
            self.late = True
            return None
        runs = cell.folder.parent
        runs.mkdir(parents=True, exist_ok=True)
        config, log = runs / f"{cell.folder.name}.yaml", runs / f"{cell.folder.name}.log"
        config.write_text(to_yaml(cell.settings), encoding="utf-8")
        threads = str(self.settings.threads)
        # The package may be used from its checkout, where the process would not find it by itself.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": path}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "bifair_dist.experiments.cell", str(config)], stdout=file, stderr=file, env=env
            )
            with self._lock:
                self._running.add(process)
                if self._stopping:
                    process.terminate()
            code = process.wait()
            with self._lock:
                self._running.discard(process)
        if code and not self._stopping:
            self.failed[cell.folder] = f"{_last_line(log)} ({log})"
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
