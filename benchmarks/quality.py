"""Quality of BiFair against AlphaRec over seeds: accuracy, group CV and MIN.

    python benchmarks/quality.py --dataset DATASET --group genre --seeds 0 1 2 --out RUNS [--test] \
        --variant "s.3:balance.fairness_strength=0.3" --variant "uniform:balance.rule=uniform"

Hardware: 2 cores; steam about 5 minutes a seed and variant, ml-1m about 20. For each seed AlphaRec is trained to the
end of its early stopping, and each variant starts from it and stops by the same rule. Runs that are there are not
repeated. Without `--test` only validation is shown: variants are chosen on it, the test figures are for the chosen one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError, run_job

MEASURES = ("recall@20", "ndcg@20", "cv", "min")


def run(folder: Path, settings: list[str]) -> dict[str, Any]:
    """`metrics.json` of the run in `folder`, trained now unless it is there."""
    metrics = folder / "metrics.json"
    if not metrics.exists():
        command = [sys.executable, "jobs/train.py", "--training.output", str(folder.parent), *settings]
        command += ["--training.run_name", folder.name, "--cluster.launcher", "inline"]
        log = folder.parent / f"{folder.name}.log"
        with log.open("w") as file:
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode:
                raise UserError(f"{log}: the run failed, see there")
    return dict(json.loads(metrics.read_text()))


def measures(metrics: dict[str, Any], split: str, group: str) -> dict[str, float]:
    """The four figures of one run."""
    table = metrics[split]["groups"][group]
    return {**{m: metrics[split][m] for m in MEASURES[:2]}, "cv": table["cv"], "min": table["min"]}


def row(name: str, runs: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    """A line of the table: mean, standard deviation over seeds, and the change of the mean against AlphaRec."""
    cells = []
    for m in MEASURES:
        values = [r[m] for r in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        change = 100 * (statistics.mean(values) / statistics.mean([b[m] for b in base]) - 1)
        cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f} ({change:+.1f} %)")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--group", default="genre")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--variant", action="append", default=[], help="NAME:section.key=value,...")
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value for all runs")
    parser.add_argument("--test", action="store_true", help="show test figures as well")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    common = [f"--data.dataset={args.dataset}", *(f"--{s}" for s in args.set)]
    results: dict[str, list[dict[str, Any]]] = {"AlphaRec": []}
    for seed in args.seeds:
        start = args.out / f"alpharec-{seed}"
        settings = [*common, f"--training.seed={seed}"]
        results["AlphaRec"].append(run(start, [*settings, "--training.method=alpharec"]))
        for variant in args.variant:
            name, _, changes = variant.partition(":")
            own = [f"--balance.group={args.group}", f"--training.warm_start={start}"]
            own += [f"--{c}" for c in changes.split(",") if c]
            results.setdefault(name, []).append(run(args.out / f"{args.group}-{name}-{seed}", [*settings, *own]))
            print(f"done: {name}, seed {seed}", file=sys.stderr, flush=True)
    for split in ("valid", "test") if args.test else ("valid",):
        base = [measures(m, split, args.group) for m in results["AlphaRec"]]
        print(f"\n{split}, {args.dataset.name}, group table {args.group}, seeds {args.seeds}\n")
        print("| run | Recall@20 | NDCG@20 | CV | MIN |\n|---|---|---|---|---|")
        for name, runs in results.items():
            print(row(name, [measures(m, split, args.group) for m in runs], base))


if __name__ == "__main__":
    run_job(main)
