"""Help with a mistyped name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def known(name: str, names: Iterable[str]) -> str:
    """End of an error line: the nearest known name where one is near, then all of them."""
    listed = list(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(listed)}"
