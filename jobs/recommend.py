"""Top-k lists of a finished run for given users, with titles.

    python jobs/recommend.py --run runs/first --users 17,42 --output lists.csv
    python jobs/recommend.py --run runs/first --users_file users.txt --k 50

Hardware: one core, and memory for all item representations. Time: seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.serving.settings import RecommendSettings


def main() -> None:
    """Read the settings, then rank."""
    settings = parse(RecommendSettings(), description=__doc__ or "")
    from bifair_dist.serving.lists import write_lists

    write_lists(settings)


if __name__ == "__main__":
    run_job(main)
