"""The core needs only torch and the small packages beside it, alone and under torchrun, and so do its benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFUSED = (
    "ray", "pyarrow", "mlflow", "deepspeed", "vllm", "transformers", "sentence_transformers", "sklearn", "matplotlib",
    "optuna",
)  # fmt: skip
FD = "finite difference"
REFUSE = f"""
import importlib.machinery, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):  # torch asks for specs of packages that it does not import
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in {REFUSED} else None

    def create_module(self, spec):
        raise ModuleNotFoundError(f"refused: {{spec.name}}", name=spec.name)

    def exec_module(self, module): ...

sys.meta_path.insert(0, Refuse())
"""
EVERY_MODULE = """
import importlib, pkgutil
for name in ("model", "bilevel", "parallel", "evaluation"):
    package = importlib.import_module("bifair_dist." + name)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


@pytest.fixture
def core_only(tmp_path: Path):
    """Runs Python with these arguments where nothing but the core's needs can be imported; returns what it printed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REFUSE)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def run(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_module_of_the_core(core_only) -> None:
    with pytest.raises(AssertionError, match="refused: ray"):
        core_only("-c", "import ray")
    core_only("-c", EVERY_MODULE)


def test_steps_and_ranking(core_only, tmp_path: Path) -> None:
    sizes = ("--device", "cpu", "--sizes", "tiny", "--rounds", "1")
    core_only("-m", "benchmarks.gpu", *sizes, "--output", str(tmp_path))
    (result,) = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert "failed" not in result and all(
        row["ms"] > 0 for row in [*result["steps"].values(), *result["ranking"].values()]
    )
    close = result["closeness"]
    assert (
        close["g_Z, exact"]
        < 1e-5
        < close["g_Z, finite difference"]
        < 1e-2
        < close["g_Z, finite difference, bf16"]
        < 0.1
    )
    assert "| bi-level, exact |" in (tmp_path / "gpu.md").read_text()


def test_a_process_group_of_one(core_only) -> None:
    told = core_only("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "benchmarks.nccl")
    assert "'steps_equal': True" in told and "'ddp_equal': True" in told


def test_cached_steps_are_measured_with_torch_alone(core_only, tmp_path: Path) -> None:
    core_only("-m", "benchmarks.cached_gpu", "--output", str(tmp_path), "--device", "cpu", "--items", "300", "600",
              "--width", "16", "--rounds", "1")  # fmt: skip
    found = json.loads((tmp_path / "cached_gpu.json").read_text())["results"]
    assert [result["items"] for result in found] == [300, 600]
    for result in found:
        kinds = {f"{w}, {k}" for w in ("cached", "full") for k in ("theta", "bi-level", "new weights")}
        assert {"refresh"} | kinds == set(result["steps"])
        assert all(row["ms"] > 0 for row in result["steps"].values())
    text = (tmp_path / "cached_gpu.md").read_text()
    assert text.count("| bi-level |") == 2 and "an epoch of cached bi-level steps grows with E^" in text
