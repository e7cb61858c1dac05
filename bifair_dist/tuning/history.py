"""What a trial has reached so far, from the `history.jsonl` of its run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_history(run: Path) -> list[dict[str, Any]]:
    """A record for each validation, in their order; none where the run has not come that far."""
    path = run / "history.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def best_so_far(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The validation whose state the run would keep if it ended now: the best one of the phase that it is in.

    One validation's recall differs from the next one's by as much as the constraint allows it to fall (a percent), so
    that a trial judged by its latest validation would be stopped, or learnt from, for the noise of that one.
    """
    return next(r for r in reversed(records) if r["best"] and r["phase"] == records[-1]["phase"])
