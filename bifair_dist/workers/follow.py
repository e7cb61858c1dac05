"""Print a growing text file as it grows: the workers' log, on the machine where the person sits."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Follow:
    """While the context is open, whatever is appended to `path` is printed, at most half a second later.

    Ray forwards its workers' output too, but with a prefix on every line, a copy of its own notices and of every
    report; a person reads this file instead, which stays in the run folder.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Follow:
        with suppress(FileNotFoundError):
            self._at = self._path.stat().st_size  # what an earlier driver of the run has printed
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(0.5)
            self._print_new()

    def _print_new(self) -> None:
        try:
            with self._path.open(encoding="utf-8") as file:
                file.seek(self._at)
                text = file.read()
                self._at = file.tell()
        except FileNotFoundError:
            return
        if text:
            print(text, end="", flush=True)
