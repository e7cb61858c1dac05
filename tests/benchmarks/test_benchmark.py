"""`jobs/benchmark.py` runs, on sizes at which its seconds mean nothing; its counts mean what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.bounds import step_bound, work_of_case
from benchmarks.cases import Case, sweeps
from benchmarks.measure import measure
from benchmarks.parts import Span, by, by_kernels, by_time
from benchmarks.report import exponent, markdown, page
from benchmarks.settings import BenchmarkSettings
from bifair_dist.errors import UserError
from bifair_dist.hardware import Hardware
from bifair_dist.parallel.comm import Comm
from bifair_dist.settings import override

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "scale.items": 120, "scale.users": 60, "scale.pairs": 900, "scale.width": 24, "scale.groups": 3,
    "scale.steps": 2, "scale.ranked": 50, "training.batch_size": 128, "model.hidden": 16,
}  # fmt: skip
RATES = Hardware(
    name="measured", memory=0, sharing=1, flops=1e9, flops16=1e9, bandwidth=1e9, link=1e8, latency=1e-4,
    host_link=0, dense=1, streaming=1, source="made up",
)  # fmt: skip
CASE = Case(items=120, users=60, pairs=900, width=24, batch=128, groups=3, workers=1)


def settings(**changed: object) -> BenchmarkSettings:
    return override(BenchmarkSettings(), {**SMALL, **{k.replace("__", "."): v for k, v in changed.items()}})


def test_sweeps() -> None:
    found = sweeps(settings(scale__workers="2,1", scale__factors="4,2"))
    assert [c.workers for c in found["strong"]] == [1, 2] and len({(c.items, c.pairs) for c in found["strong"]}) == 1
    assert [(c.workers, c.items, c.users, c.pairs) for c in found["weak"]] == [(1, 120, 60, 900), (2, 240, 120, 1800)]
    assert [(c.items, c.users, c.pairs) for c in found["catalogue"]] == [(120 * f, 60 * f, 900 * f) for f in (1, 2, 4)]
    for name in ("items", "width", "pairs", "batch", "groups"):
        first, *_ = found[name]
        assert [getattr(c, name) // getattr(first, name) for c in found[name]] == [1, 2, 4]
        assert {c.workers for c in found[name]} == {2}


def test_errors() -> None:
    with pytest.raises(UserError, match=r"^scale\.sweeps: unknown sweep 'sideways'; there is: strong, weak"):
        settings(scale__sweeps="sideways")
    with pytest.raises(
        UserError, match=r"^scale\.methods: 'nothing' is not measured here; there is: mf, lightgcn, alpharec"
    ):
        settings(scale__methods="alpharec,nothing")
    with pytest.raises(UserError, match=r"^scale\.pairs: 3,600 distinct pairs of 60 users and 100 items"):
        sweeps(settings(scale__items=100))
    with pytest.raises(UserError, match=r"^scale\.workers: 65 workers"):
        sweeps(settings(scale__workers="65"))


def test_methods_side_by_side(tmp_path: Path) -> None:
    """Every size in a row for all methods; a table and figures with their ratios."""
    both = settings(scale__methods="alpharec,bifair", scale__sweeps="catalogue", scale__factors="2")
    cases = sweeps(both)["catalogue"]
    assert [(c.method, c.items) for c in cases] == [(m, n) for n in (120, 240) for m in ("alpharec", "bifair")]
    one = [replace(case, workers=1) for case in cases]
    results = [{**measure(both, c, Comm(), None, torch.device("cpu"), RATES), "start_seconds": None} for c in one]
    alpharec, bifair = results[2:]
    assert "new_weights_seconds" not in alpharec and bifair["plain_bound"].keys() > {"optimiser", "projection"}
    assert bifair["epoch_seconds"] == pytest.approx(
        15 * (0.9 * bifair["plain_seconds"] + 0.1 * bifair["new_weights_seconds"])  # 1,800 pairs in batches of 128
    )
    assert alpharec["epoch_seconds"] == pytest.approx(15 * alpharec["plain_seconds"])
    whole = {"about": ["- a record"], "sweeps": {"catalogue": results}}
    text = markdown(whole)
    ratio = f"{bifair['epoch_seconds'] / alpharec['epoch_seconds']:.2f}"
    (row,) = [line for line in text.split("methods side by side")[1].splitlines() if line.startswith("| 1 | 240 |")]
    assert [cell.strip() for cell in row.split("|")][11] == ratio
    assert "## catalogue, alpharec\n" in text and "## catalogue, bifair\n" in text and "growth with pairs" in text
    shown = page(whole)
    assert "methods side by side" in shown and shown.count("bifair and alpharec, catalogue") >= 2


def test_own_time_adds_up_to_the_whole() -> None:
    """On a CPU the time in a part and in none inside it; on a GPU kernels count where they were started."""
    spans = [
        Span("whole step", 0, 100), Span("inner gradient", 10, 60), Span("projection", 12, 20), Span("loss", 20, 25),
        Span("exchange", 30, 34), Span("optimiser", 60, 70), Span("exchange", 80, 81),
    ]  # fmt: skip
    assert by_time(reversed(spans)) == {
        ("other", "other"): 39, ("inner gradient", "projection"): 8, ("inner gradient", "loss"): 5,
        ("inner gradient", "exchange"): 4, ("inner gradient", "backward"): 33, ("optimiser", "other"): 10,
        ("other", "exchange"): 1,
    }  # fmt: skip
    kernels = [(5, 1), (13, 50), (26, 7), (58, 90), (65, 3), (120, 2)]
    assert by_kernels(spans, kernels) == {
        ("other", "other"): 3, ("inner gradient", "projection"): 50, ("inner gradient", "backward"): 97,
        ("optimiser", "other"): 3,
    }  # fmt: skip


def test_a_case() -> None:
    """Every pass and operation is there, and their seconds are the step's."""
    result = measure(settings(), CASE, Comm(), None, torch.device("cpu"), RATES)
    for kind in ("plain", "new_weights"):
        parts = result[f"{kind}_parts"]
        assert sum(by(parts, 0).values()) == pytest.approx(sum(by(parts, 1).values()))
        assert sum(by(parts, 0).values()) == pytest.approx(result[f"{kind}_seconds"])
        passes = {"inner gradient", "outer gradients", "perturbed passes", "optimiser", "other"}
        assert set(by(parts, 0)) == passes | ({"new weights"} if kind == "new_weights" else set())
        assert set(by(parts, 1)) == {"projection", "propagation", "loss", "backward", "exchange", "other"}
    assert result["plain_sent"] == {} and result["peak_bytes"] > 0 and result["ranked_users_per_second"] > 0
    assert set(result["plain_bound"]) == {"projection", "propagation", "loss", "backward", "optimiser"}
    text = markdown({"about": ["- a record"], "sweeps": {"strong": [{**result, "start_seconds": None}]}})
    assert "| 1 | 120 | 60 | 900 | 24 | 128 | 3 |" in text and "| perturbed passes |" in text
    assert "nothing: one worker" in text


@pytest.mark.parametrize("method", ["mf", "lightgcn"])
def test_id_embeddings(method: str) -> None:
    """They have no projector, and nothing to balance."""
    case = replace(CASE, method=method)
    result = measure(settings(), case, Comm(), None, torch.device("cpu"), RATES)
    assert set(by(result["plain_parts"], 0)) == {"outer gradients", "optimiser", "other"}
    assert "new_weights_seconds" not in result and result["ranked_users_per_second"] > 0
    assert set(result["plain_bound"]) == {"loss", "backward", "optimiser"} | {"propagation"}


def test_cached_propagation() -> None:
    """Its refresh is timed by itself and counts in the epoch; the plan is of cached steps."""
    cached = override(settings(), {"model.propagation": "cached", "cached.interval": 2})
    result = measure(cached, CASE, Comm(), None, torch.device("cpu"), RATES)
    assert set(result["plain_bound"]) == {"projection", "propagation", "loss", "fit", "rows of Z", "optimiser"}
    steps = -(-CASE.pairs // CASE.batch)
    assert result["epoch_seconds"] > steps * result["refresh_seconds"] / 2 > 0
    text = markdown({"about": ["- a record"], "sweeps": {"strong": [{**result, "start_seconds": None}]}})
    assert "| 1 | 120 | 60 | 900 | 24 | 128 | 3 |" in text


def test_the_job_on_two_workers(tmp_path: Path) -> None:
    """As processes of this machine; its bytes are the plan's."""
    from bifair_dist.cost.traffic import step_traffic
    from bifair_dist.cost.work import Sizes
    from bifair_dist.training.phases import phases_of
    from bifair_dist.training.work import work_of

    words = [f"--{key}={value}" for key, value in SMALL.items()]
    words += ["--scale.workers", "2", "--scale.sweeps", "strong", "--cluster.launcher", "inline"]
    command = [sys.executable, "jobs/benchmark.py", *words, "--scale.output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "benchmark.md").read_text() in done.stdout
    whole = json.loads((tmp_path / "benchmark.json").read_text())
    (result,) = whole["sweeps"]["strong"]
    sizes = Sizes(items=120, users=60, pairs=900, width=24, groups=3)
    work = work_of(settings(), sizes, phases_of(settings())[-1], 2)
    page = (tmp_path / "benchmark.html").read_text()
    assert (
        page.count("<svg") == page.count("</figure>") > 5
        and "<script" not in page
        and "http://" not in page.replace("http://www.w3.org", "")
    )
    assert whole["reading"]["dataset"]["seconds"] > 0 and result["start_seconds"] > 0 and result["rates"]["link"] > 0
    for kind, count in (("plain", 1), ("new_weights", 0)):
        ranks = [step_traffic(work, rank, count).sent for rank in range(2)]
        assert result[f"{kind}_sent"] == {tag: max(r[tag] for r in ranks) for tag in ranks[0]}
        assert result[f"{kind}_formula"] == result[f"{kind}_sent"]
    assert "commit" in whole["about"][0] and whole["settings"]["scale.items"] == 120


def test_bounds_of_a_step_by_hand() -> None:
    """W = 1, no weights, theta and Z trained, users pooled after W1: products and bytes as on paper."""
    work = work_of_case(settings(), CASE)
    n, u, e, d, h, k = 120, 60, 900, 24, 16, 64
    fast = replace(RATES, bandwidth=1e30)  # nothing is bound by bytes
    found = step_bound(work, 1, fast)
    first, second, loss = 2 * n * d * h, 2 * (n + u) * h * k, 2 * 128 * min(256, n) * k
    assert found["projection"] == pytest.approx(4 * (first + second) / 1e9)  # inner, outer, two perturbed
    assert found["loss"] == pytest.approx(4 * loss / 1e9)
    # Back, the second layer and the loss by both factors, or the one that is asked for.
    back = (first + 2 * second) + (2 * first + 2 * second) + 2 * (first + second) + 4 * 2 * loss
    assert found["backward"] == pytest.approx(back / 1e9)
    slow = step_bound(work, 1, replace(RATES, flops=1e30))
    edges = 2 * e * (4 + 4 * k) + 6 * 4 * (n + u) * k
    pooling = e * (4 + 4 * h) + 2 * 4 * (n + u) * h
    assert slow["propagation"] == pytest.approx(4 * (2 * edges + pooling) / 1e9)


def test_exponents() -> None:
    assert exponent([1, 2, 4, 8], [3 * s**1.5 for s in (1, 2, 4, 8)]) == pytest.approx(1.5)
    assert exponent([10, 100], [7, 7]) == pytest.approx(0)
    assert exponent([5], [7]) is None


def test_the_plan_allocates_nothing() -> None:
    """A catalogue of a terabyte is planned at once, without torch; what does not fit is reported."""
    command = [sys.executable, "-X", "importtime", "jobs/benchmark.py", "plan", "h100", "--scale.items", "1e9",
               "--scale.users", "1e8", "--scale.pairs", "1e10", "--scale.sweeps", "weak"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "| torch\n" not in done.stderr
    first, second = (line for line in done.stdout.splitlines() if line.startswith("weak"))
    assert "1,000,000,000" in first and "2,000,000,000" in second
    assert "does not fit: 67.1 GiB are there" in first
    assert "2 cases" in done.stdout


def test_plan_of_unknown_hardware() -> None:
    command = [sys.executable, "jobs/benchmark.py", "plan", "abacus"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and done.stderr.startswith("error: plan: no hardware profile is called 'abacus'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_embedding_job_is_measured(tmp_path: Path) -> None:
    """The packaged model on generated titles: rates, and a bound above them."""
    from benchmarks.embedding import embedded
    from bifair_dist.embedding.settings import EmbedSettings

    found = embedded(EmbedSettings(engine="sentence-transformers", batch=64), 256, tmp_path)
    assert found["items"] == 256 and found["seconds"] > found["start_seconds"] > 0
    assert 0 < found["items_per_second"] < 2 * found["bound_items_per_second"]
    assert list(tmp_path.iterdir()) == []


def test_a_whole_epoch_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every step of it, two refreshes among them, on two workers; the loss falls."""
    from benchmarks.epoch import main

    main(["--output", str(tmp_path), "--items", "1200", "--width", "16", "--batch", "256", "--workers", "2"])
    text = (tmp_path / "epoch.md").read_text()
    assert text == capsys.readouterr().out[-len(text) - 1 : -1] and "**94 of 94 steps in " in text
    assert sum(int(row.split("|")[2]) for row in text.splitlines() if row.startswith(("| plain", "| with "))) == 94
    assert "| with a refresh | 2 |" in text
    first, last = (float(words) for words in re.findall(r"(\d\.\d{4}) over", text))
    assert last < first
