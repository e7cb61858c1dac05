"""A study: methods, settings and seeds compared on several datasets by one rule; restartable.

    python jobs/study.py --file jobs/studies/smoke.yaml
    python jobs/study.py --file jobs/studies/methods.yaml --data datasets --output studies --concurrent 2
    ray job submit --working-dir . -- python jobs/study.py --file jobs/studies/methods.yaml --data /shared/datasets \\
        --output /shared/studies

Writes a study folder: report.html, tables.md, trials.parquet, figures; run folders lie in `runs` beside it and are
shared between studies. The same command goes on after a cut. What a study file says:
bifair_dist/experiments/definition.py; hours: the heads of the files in jobs/studies.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.experiments.settings import StudySettings


def main() -> None:
    """Read the settings, then run the study."""
    settings = parse(StudySettings(), description=__doc__ or "")
    from bifair_dist.experiments.study import run_study

    run_study(settings)


if __name__ == "__main__":
    run_job(main)
