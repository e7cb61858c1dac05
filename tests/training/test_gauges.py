"""Figures of a training as gauges of Ray, and the dashboard that shows them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.util.metrics
from small_runs import history_of, make_small, run

from bifair_dist.runs import Validation
from bifair_dist.runs.summary import Summary
from bifair_dist.training.gauges import NAMES, Gauges

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "cluster" / "grafana-training.json"
Key = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[Key, list[float]]:
    """Every value that a gauge was set to, by name and labels, as on Ray."""
    values: dict[Key, list[float]] = {}

    class Gauge:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, set(tag_keys)

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert set(tags) == self.keys
            values.setdefault((self.name, tuple(sorted(tags.items()))), []).append(value)

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray.util.metrics, "Gauge", Gauge)
    return values


def test_they_show_each_validation(shown: dict[Key, list[float]], tmp_path: Path) -> None:
    folder = run(make_small(tmp_path), tmp_path / "runs", {"training.run_name": "a", "training.bilevel_epochs": 2})
    history = history_of(folder)

    def values(name: str, **labels: str) -> list[float]:
        return shown[name, tuple(sorted({"run": "a", **labels}.items()))]

    for metric in ("recall@20", "ndcg@20"):
        want = [line["valid"][metric] for line in history]
        assert values("bifair_validation_accuracy", metric=metric) == want
    for table in ("genre", "provider"):
        for figure in ("cv", "min"):
            want = [line["valid"]["groups"][table][figure] for line in history]
            assert values(f"bifair_validation_{figure}", table=table) == want
    assert values("bifair_training_loss") == [line["loss"] for line in history]
    assert values("bifair_step") == [line["step"] for line in history]
    steps = history[0]["step"]
    assert values("bifair_step_seconds") == [line["seconds_per_epoch"] / steps for line in history]
    assert values("bifair_exchange_bytes_per_step") == [0, 0, 0]  # one worker
    assert values("bifair_group_loss", group="Poetry") == [
        line["group_losses"][_place(tmp_path, "Poetry")] for line in history if line["group_losses"]
    ]
    assert {name for name, _ in shown} == set(NAMES)


def _place(folder: Path, label: str) -> int:
    from bifair_dist.data.dataset import read_dataset

    return list(read_dataset(folder / "dataset").groups["genre"].labels).index(label)


def test_bytes_are_those_since_the_last_validation(shown: dict[Key, list[float]]) -> None:
    gauges = Gauges("a")
    gauges.begin(100, 5000)
    for step, sent in ((110, 6000), (120, 9000)):
        gauges.set(Validation("base", 1, step, 0.0, True, Summary({})), {}, 10, sent)
    assert shown["bifair_exchange_bytes_per_step", (("run", "a"),)] == [100, 300]


def test_without_ray_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray.util.metrics, "Gauge", refused)
    Gauges("a")


def test_the_dashboard_shows_what_is_emitted_and_all_of_it() -> None:
    page = json.loads(DASHBOARD.read_text())
    asked = [target for panel in page["panels"] for target in panel["targets"]]
    found = set()
    for target in asked:
        name, labels = re.fullmatch(r"ray_(\w+)\{(.*)\}", target["expr"]).groups()  # type: ignore[union-attr]
        found.add(name)
        assert labels == 'run=~"$run"'
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == {"run", *NAMES[name][1]}
    assert found == set(NAMES)
    for variable in page["templating"]["list"]:
        assert set(re.findall(r"ray_(\w+)", json.dumps(variable))) <= set(NAMES)
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    assert "Import" in page["description"]


ON_RAY = """
import ray, re, time, urllib.request
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)

@ray.remote
class Worker:
    def show(self):
        from bifair_dist.runs.summary import GroupFigures, Summary
        from bifair_dist.runs import Validation
        from bifair_dist.training.gauges import Gauges
        valid = Summary({"recall@20": 0.25}, {"genre": GroupFigures(cv=0.5, minimum=0.125)})
        self.gauges = Gauges("first")
        self.gauges.set(Validation("base", 1, 8, 3.5, True, valid, seconds_per_epoch=4.0), {}, 8, 80)

worker = Worker.remote()
ray.get(worker.show.remote())
(node,) = ray.nodes()
end = time.monotonic() + 240
text = ""
while "ray_bifair_training_loss" not in text and time.monotonic() < end:
    time.sleep(0.5)
    try:
        text = urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").read().decode()
    except OSError:
        pass
for line in text.splitlines():
    if line.startswith("ray_bifair"):
        print(re.sub(r'(?<=[{,])(?!run|metric|table)\\w+="[^"]*",?', "", line))
"""


def test_ray_exports_them() -> None:
    """As a Prometheus would read them from a worker's machine."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {
        "RAY_metrics_report_interval_ms": "500"
    }
    done = subprocess.run([sys.executable, "-c", ON_RAY], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for line in done.stdout.splitlines():
        name, labels, value = re.fullmatch(r"ray_(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
        assert 'run="first"' in labels
        found[name] = float(value)
    assert found == {
        "bifair_validation_accuracy": 0.25,
        "bifair_validation_cv": 0.5,
        "bifair_validation_min": 0.125,
        "bifair_training_loss": 3.5,
        "bifair_step": 8,
        "bifair_step_seconds": 0.5,
        "bifair_exchange_bytes_per_step": 10,
    }
