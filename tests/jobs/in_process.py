"""What tests of jobs name: the top of the project, and a job run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Job = Callable[..., tuple[int, str, str]]
