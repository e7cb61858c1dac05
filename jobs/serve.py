"""A finished run as an HTTP service on Ray Serve: lists for users, for histories, and items near an item.

    python jobs/serve.py runs/first                                  http://127.0.0.1:8000, described at /docs
    python jobs/serve.py runs/live --serve.replicas 2                a link; point it elsewhere to serve another run
    python jobs/serve.py models:/shop@live --registry http://127.0.0.1:5000       a registered MLflow model
    curl 'http://127.0.0.1:8000/recommend?user=17&k=5'

Nobody is asked for a password: it listens on this machine only, by default; put a proxy before it (docs/serving.md).
Hardware: one core and memory for all vectors for each replica. Time: seconds to start, then until it is ended.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.errors import run_job
from bifair_dist.serving.service_settings import ServeSettings
from bifair_dist.settings import override


def main() -> None:
    """Read the settings, then serve until the process is asked to end."""
    words = sys.argv[1:]
    named = list(takewhile(lambda word: not word.startswith("-"), words))
    settings = parse(ServeSettings(), words[len(named) :], description=__doc__ or "")
    if named:
        settings = override(settings, {"run": named[0]})
    from bifair_dist.serving.service import serve_forever

    serve_forever(settings)


if __name__ == "__main__":
    run_job(main)
