"""What Ray and an engine write past Python goes to a log file: many of these lines look like errors and are none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


@contextmanager
def raw_lines_to(path: Path) -> Iterator[None]:
    """Append standard error of this process, and of those it starts, to `path`; what our Python prints is still shown.

    Does nothing where `sys.stderr` is not the process's own, as inside another such block. No lines leave no file.
    """
    if sys.stderr is not sys.__stderr__ or sys.__stderr__ is None:
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with path.open("ab") as log:
            os.dup2(log.fileno(), 2)
        with open(terminal, "w", buffering=1, errors="backslashreplace", closefd=False) as ours, redirect_stderr(ours):
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if path.is_file() and not path.stat().st_size:
            path.unlink()
