"""Accuracy and fairness of ranked lists: a run's, or those of any other tool, for any group table, with intervals.

    python jobs/evaluate.py --run runs/first
    python jobs/evaluate.py --recommendations theirs.csv --dataset datasets/steam --groups studios.csv --output out.json
    ray job submit --working-dir . -- python jobs/evaluate.py --run /shared/runs/first

Of equal scores in a list the smaller item id (in plain string order) stands first; how many there are is printed.

Hardware: one core. Time: seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.report.evaluate_settings import EvaluateSettings


def main() -> None:
    """Read the settings, then measure."""
    settings = parse(EvaluateSettings(), description=__doc__ or "")
    from bifair_dist.report.evaluated import evaluate_lists

    evaluate_lists(settings)


if __name__ == "__main__":
    run_job(main)
