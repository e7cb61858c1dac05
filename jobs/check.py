"""Check a configuration on a dataset before trusting it.

    python jobs/check.py hypergradient [settings of jobs/train.py]
    python jobs/check.py hypergradient --data.dataset DATASET --balance.group genre --training.warm_start RUN

`hypergradient`: error and cosine of the finite difference against the exact hypergradient (float64) over a grid of
eps in fp32 and fp64, with the best eps in fp32. Measured at the state of RUN, or else at the initial projector.

Hardware: one process on one core. Time: 10 seconds on 90,000 pairs (docs/hypergradient.md has results). Nothing is
written but the cache of encoded titles.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import UserError, run_job
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings


def hypergradient(arguments: list[str]) -> None:
    """Print the table of the finite difference's accuracy."""
    settings = parse(TrainSettings(), arguments, __doc__ or "")
    from bifair_dist.training.hypergradient_check import check_hypergradient, table
    from bifair_dist.training.inputs import with_data

    settings = with_data(override(settings, {"cluster.launcher": "inline"}))
    print(table(check_hypergradient(settings), settings))


CHECKS = {"hypergradient": hypergradient}


def main() -> None:
    """Run the check named first."""
    name, *arguments = sys.argv[1:] or [""]
    if name in ("-h", "--help"):
        print((__doc__ or "").strip())
    elif name not in CHECKS:
        what = f"unknown check {name!r}" if name else "no check named"
        raise UserError(f"{what}; there is: {', '.join(CHECKS)} (python jobs/check.py hypergradient --help)")
    else:
        CHECKS[name](arguments)


if __name__ == "__main__":
    run_job(main)
