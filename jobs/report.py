"""The fairness report of finished runs: one HTML page and its data as JSON beside it.

    python jobs/report.py runs/first
    python jobs/report.py runs/first runs/second --output compared.html
    ray job submit --working-dir . -- python jobs/report.py /shared/runs/first

Every training writes its own at its end. Hardware: one core, memory for the dataset. Time: seconds a run.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.report.settings import ReportSettings
from bifair_dist.settings import override


def main() -> None:
    """Read the settings, then write the report."""
    words = sys.argv[1:]
    runs = tuple(takewhile(lambda word: not word.startswith("-"), words))
    settings = parse(ReportSettings(), words[len(runs) :], description=__doc__ or "")
    from bifair_dist.report.report import make_report

    make_report(override(settings, {"runs": (*runs, *settings.runs)}))


if __name__ == "__main__":
    run_job(main)
