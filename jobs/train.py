"""Train BiFair, AlphaRec or the separate variant, on one machine or a Ray cluster.

    python jobs/train.py                                 built-in catalogue, 2 workers, under 5 minutes on 2 cores
    python jobs/train.py --data.dataset DATASET --cluster.workers 4
    python jobs/train.py --config my.yaml --bilevel.eta 1e-3 --balance.fairness_strength 0.3
    ray job submit --working-dir . -- python jobs/train.py --data.dataset /shared/dataset --cluster.workers 8
    torchrun --nproc-per-node 2 jobs/train.py --data.dataset DATASET          the same without Ray
    python jobs/train.py plan h100-80gb --data.dataset DATASET               memory, bytes, time; runs nothing

Writes a run folder (config, metrics, recommendations, refined representations) and an MLflow run.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse, subcommand
from bifair_dist.errors import run_job
from bifair_dist.training.settings import TrainSettings


def main() -> None:
    """Read the settings, then train."""
    mode, words = subcommand(sys.argv[1:], ("run", "plan"), "jobs/train.py")
    if mode == "plan":
        from bifair_dist.planning.settings import TrainPlanSettings
        from bifair_dist.planning.text import named, plan

        print(plan(parse(TrainPlanSettings(), named(words), __doc__ or "")))
        return
    settings = parse(TrainSettings(), words, __doc__ or "")
    from bifair_dist.after_training import publish
    from bifair_dist.training.launch import train

    train(settings, finish=publish)


if __name__ == "__main__":
    run_job(main)
