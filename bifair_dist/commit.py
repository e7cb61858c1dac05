"""Which state of the program ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit(*paths: str) -> str:
    """Short hash of HEAD, marked where `paths` (relative to the top) differ from it; empty outside a git checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        # An installed package may lie inside the checkout of something else.
        if git("rev-parse", "--show-toplevel") != str(ROOT):
            return ""
        changed = git("status", "--porcelain", "--", *paths)
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except OSError:  # no git on this machine
        return ""
