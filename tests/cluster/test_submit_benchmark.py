"""`ray job submit -- python jobs/benchmark.py` on a real Ray of two nodes: both are used, and all three files come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_ray import two_nodes


@pytest.mark.slow
def test_the_benchmark_as_a_job(tmp_path: Path) -> None:
    sizes = {"items": 120, "users": 60, "pairs": 900, "width": 24, "groups": 3, "steps": 1, "ranked": 50}
    words = [f"--scale.{name}={value}" for name, value in sizes.items()]
    words += ["--scale.sweeps=strong", "--scale.workers=1,2", "--training.batch_size=128", "--model.hidden=16"]
    words += ["--cluster.cpus_per_worker=3", f"--scale.output={tmp_path}"]
    with two_nodes() as ray:
        assert ray.client(*ray.submit("benchmark", "python", "jobs/benchmark.py", *words)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.json", "benchmark.md", "benchmark.html"}
    whole = json.loads((tmp_path / "benchmark.json").read_text())
    one, two = whole["sweeps"]["strong"]
    assert (one["case"]["workers"], two["case"]["workers"]) == (1, 2)
    assert one["plain_sent"] == {} and two["plain_sent"] == two["plain_formula"] != {}
    assert two["start_seconds"] > 0
