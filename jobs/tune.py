"""Search settings of BiFair with Ray Tune; every trial is the real training, warm-started from one AlphaRec baseline.

    python jobs/tune.py --tune.space smoke          built-in catalogue, 4 minutes on 2 cores
    python jobs/tune.py --tune.space bifair_core --data.dataset DATASET --tune.confirm 1,2,3
    ray job submit --working-dir . -- python jobs/tune.py --tune.space balance --data.dataset /shared/dataset \\
        --tune.output /shared/sweeps --cluster.gpus_per_worker 1

Writes a sweep folder: report.html, best.yaml for `jobs/train.py --config`, trials.parquet, and each trial's run folder.
The same command goes on after a cut. Spaces and their minutes: the heads of the files in tune_spaces/.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.experiments.settings import TuneSettings
from bifair_dist.experiments.space import fixed_under


def main() -> None:
    """Read the settings, then search."""
    settings = parse(TuneSettings(), description=__doc__ or "", under=fixed_under)
    from bifair_dist.experiments.sweep import sweep

    sweep(settings)


if __name__ == "__main__":
    run_job(main)
