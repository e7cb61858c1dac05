"""What Ray and an engine write to standard error goes to a log file: many of these lines look like errors and are none.

They write past Python, in the processes that they start, and through loggers that they set up themselves.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TextIO

OURS = ("warning: ", "note: ", "error: ")
"""How each line begins that this project writes to standard error."""


@contextmanager
def raw_lines_to(path: Path) -> Iterator[None]:
    """Append standard error of this process, and of those it starts, to `path`, but for the lines that are `OURS`.

    Does nothing where `sys.stderr` is not the process's own, as inside another such block. No lines leave no file.
    """
    own = sys.__stderr__
    if own is None or sys.stderr is not own:
        yield
        return
    own.flush()
    terminal = os.dup(2)
    try:
        with (
            path.open("a", encoding="utf-8", errors="backslashreplace") as log,
            open(terminal, "w", errors="backslashreplace", closefd=False) as shown,
            redirect_stderr(_Sorted(shown, log)),
        ):
            os.dup2(log.fileno(), 2)
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if path.is_file() and not path.stat().st_size:
            path.unlink()


class _Sorted(io.TextIOBase):
    """Whole lines, each to the one of two streams that it belongs to."""

    def __init__(self, ours: TextIO, others: TextIO) -> None:
        self._ours, self._others, self._line = ours, others, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            stream = self._ours if line.startswith(OURS) else self._others
            stream.write(f"{line}\n")
            stream.flush()
        return len(text)

    def fileno(self) -> int:
        return 2
