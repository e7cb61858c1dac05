"""A finished run for other programs: a FAISS index, arrays, a Lance table, a model folder with a model card, or another
trade-off of the same run, without training.

    python jobs/export.py runs/first                                       Hugging Face layout; bd.load_run reads it
    python jobs/export.py runs/first --format faiss --output index
    python jobs/export.py runs/first --format npy
    python jobs/export.py runs/first --accuracy_budget 0.03                the fairest state that loses at most 3 %
    python jobs/export.py runs/first --interpolation 0.7                   a run folder, as a training writes it

Hardware: one core, memory for all item representations. Time: seconds.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.serving.settings import ExportSettings
from bifair_dist.settings import override


def main() -> None:
    """Read the settings, then write the folder."""
    words = sys.argv[1:]
    named = list(takewhile(lambda word: not word.startswith("-"), words))
    settings = parse(ExportSettings(), words[len(named) :], description=__doc__ or "")
    if named:
        settings = override(settings, {"run": named[0]})
    from bifair_dist.serving.export import export

    export(settings)


if __name__ == "__main__":
    run_job(main)
