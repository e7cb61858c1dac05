"""Errors that a user caused and can fix, in one line."""

from __future__ import annotations

import difflib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TextIO


class UserError(Exception):
    """Bad input. The message is one line that names the file, row or key and says what to do."""


def nearest(name: str, names: Iterable[str], likeness: float = 0.6) -> str:
    """What of `names` is most like `name`, `likeness` (0 to 1, difflib's ratio) at least; or nothing."""
    return next(iter(difflib.get_close_matches(name, list(names), 1, likeness)), "")


def known_names(name: str, names: Iterable[str]) -> str:
    """End of an error line: the nearest known name where one is near, then all of them."""
    listed = list(names)
    near = nearest(name, listed, 0.5)
    return f"{f'did you mean {near!r}? ' if near else ''}known: {', '.join(listed)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with what of `known` comes nearest to `name`, whole or after its last dot; or nothing."""
    names = [str(one) for one in known]
    by_last = {one.rpartition(".")[2]: one for one in reversed(names)}
    found = nearest(name, names) or by_last.get(nearest(name.rpartition(".")[2], by_last))
    return f"; did you mean {found}?" if found else ""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, `kill` or `ray job stop`. The message is one line that says how to go on."""


def inside(name: object, source: str) -> str:
    """A file name that a manifest gives, refused where it leads out of the manifest's folder. Raises `UserError`."""
    path = PurePath(str(name))
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{source}: the file name {name!r} leads out of the folder; the manifest was tampered with")
    return name


def run_job(main: Callable[[], int | None]) -> None:
    """Run an entry point and exit the process: 0 on success, 2 with one line on stderr for a `UserError`, 130 with one
    line after Ctrl-C, `kill` or `ray job stop`.

    Anything else keeps its traceback, because it is a fault of the program and not of its user.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # alike, also where a shell's `&` has had Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    try:
        code = _ended(main)
        sys.stdout.flush()  # here, where a reader that has gone is still recognised; at the interpreter's end it is not
    except BrokenPipeError:
        if not _reader_gone(sys.stdout):  # some other connection broke: that is a fault
            raise
        # The reader (`| head`) has seen enough: end quietly with the code of a program that SIGPIPE ended. What is
        # still in the buffer goes nowhere, or flushing it at the interpreter's end would complain after all.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


def _ended(main: Callable[[], int | None]) -> int | str | None:
    """Exit code of an entry point, also of one that ends itself (`--help`)."""
    try:
        return main() or 0
    except SystemExit as end:
        return end.code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only put a stack behind the line
        print(str(stop) or "interrupted", file=sys.stderr)
        return 130


def _reader_gone(stream: TextIO) -> bool:
    """Whether nobody reads a pipe any more. The pipe is asked: unbuffered output keeps no trace of a failed write."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
