"""Errors that a person caused and can mend, told in one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import PurePath


class UserError(Exception):
    """Bad input. The message is one line that names the file, row or key and says what to do."""


def inside(name: object, source: str) -> str:
    """A file name that a manifest gives, refused where it leads out of the manifest's folder. Raises `UserError`."""
    path = PurePath(str(name))
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{source}: the file name {name!r} leads out of the folder; the manifest was tampered with")
    return name


def run_job(main: Callable[[], int | None]) -> None:
    """Run an entry point and exit the process: 0 on success, 2 with one line on stderr for a `UserError`.

    Anything else keeps its traceback, because it is a fault of the program and not of its user.
    """
    try:
        code = main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # the reader (`| head`) has seen enough: end as programs of the shell do
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
