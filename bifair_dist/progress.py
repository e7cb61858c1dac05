"""Progress: tqdm's bar on a terminal; in a log one line every few seconds with rate and remaining time."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

BAR_EVERY = 0.2
"""Seconds between two drawings of a bar, at least."""
CLEAR = "\x1b[K"
"""What makes a terminal erase the rest of the line."""


def duration(seconds: float) -> str:
    """Seconds as a person says them: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def time_left(done: float, total: float, seconds: float) -> str:
    """How long the rest takes, as `duration` says it, where `done` of `total` took `seconds`; `?` before the first."""
    return duration(seconds / done * (total - done)) if done > 0 else "?"


def rate(done: float, seconds: float) -> str:
    """`done` a second: whole from 10 on, else two digits."""
    value = done / seconds if seconds > 0 else 0.0
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


class Progress:
    """Counts work done and shows it: a bar on a terminal, else a line at most every `every` seconds; a line at the end.

    `total` is the work in `unit` (None where unknown: then without share and remaining time). The rate is the mean
    since the start, less the work already done before it (`done`, for a resumed run); what waits for a model to load
    says when it has (`begin`).
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str,
        *,
        done: int = 0,
        every: float = 5.0,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._first, self._every, self._quiet = done, every, quiet
        self._stream, self._clock = stream, clock
        self._start = self._last = clock()
        self._bar = not quiet and (stream or sys.stdout).isatty()
        if self._bar:
            self._every = min(every, BAR_EVERY)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def begin(self, amount: int = 0) -> None:
        """From here on the rate counts: the time before, and the `amount` of work that it gave, are left out."""
        self.done += amount
        self._first, self._start = self.done, self._clock()

    def update(self, amount: int = 1, note: str = "") -> None:
        """Add finished work; `note` goes at the end of the line, if one is due."""
        self.done += amount
        if self._clock() - self._last >= self._every and self.done != self.total:
            self.show(note)

    def show(self, note: str = "", *, line: bool = False) -> None:
        """Show where it stands, now; with `line` as a line also on a terminal."""
        self._last = self._clock()
        if self._bar and not line:
            self._draw(note)
            return
        elapsed, fresh = self.seconds, self.done - self._first
        parts = [f"{self.what}: {self.done:,}"]
        if self.total is not None:
            parts[0] += f"/{self.total:,} {self.unit} ({100 * self.done / max(self.total, 1):.0f} %)"
        else:
            parts[0] += f" {self.unit}"
        if fresh > 0:
            parts.append(f"{rate(fresh, elapsed)} {self.unit}/s")
        if self.total is not None and fresh > 0:
            parts.append(f"{time_left(fresh, self.total - self._first, elapsed)} left")
        self._print(", ".join(parts + ([note] if note else [])))

    def finish(self, note: str = "") -> None:
        """Print the last line: the work done, its time and its rate."""
        fresh = self.done - self._first
        speed = f"{rate(fresh, self.seconds)} {self.unit}/s"
        line = f"{self.what}: {self.done:,} {self.unit} in {duration(self.seconds)} ({speed})"
        self._print(f"{line}, {note}" if note else line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def _draw(self, note: str) -> None:
        """The bar, over the one before; a line feed comes with the last line alone."""
        from tqdm import tqdm

        bar = tqdm.format_meter(
            self.done,
            self.total,
            self.seconds,
            prefix=self.what,
            unit=f" {self.unit}",
            postfix=note or None,
            initial=self._first,
            ncols=shutil.get_terminal_size().columns - 1,
        )
        print(f"\r{CLEAR}{bar}", end="", file=self._stream or sys.stdout, flush=True)

    def _print(self, line: str) -> None:
        if self._bar:
            line = f"\r{CLEAR}{line}"
        if not self._quiet:
            print(line, file=self._stream or sys.stdout, flush=True)
