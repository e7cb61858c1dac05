"""Re-rank the lists of a finished run: fairer groups without training, chosen on validation, measured on test.

    python jobs/rerank.py --run runs/first --group genre
    python jobs/rerank.py --run runs/first --group genre --method calibrated --output lists.parquet

What a fair training is to be compared with; jobs/evaluate.py and jobs/report.py measure the lists further.

Hardware: one core, and memory for all ranking vectors. Time: seconds to minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.rerank.settings import RerankSettings


def main() -> None:
    """Read the settings, then re-rank."""
    settings = parse(RerankSettings(), description=__doc__ or "")
    from bifair_dist.rerank.compare import rerank

    rerank(settings)


if __name__ == "__main__":
    run_job(main)
