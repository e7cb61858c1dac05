"""Each strategy's bi-level steps against DDP's, on two gloo workers in float32; and Adam on the host by itself."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import deepspeed_world
import pytest
import torch
import torch.multiprocessing as mp
from deepspeed_world import NAMES, STRATEGIES
from torch import Tensor

from bifair_dist.errors import UserError
from bifair_dist.parallel import cpu_adam
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.host_adam import HostAdam

# As in test_world_size.py: rules that solve for the weights amplify the rounding of their Gram matrix.
TOLERANCE, TOLERANCE_WEIGHTS = 1e-5, 1e-4
Results = dict[tuple[str, str], Any]
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed (make test installs it)"
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    folder = tmp_path_factory.mktemp("deepspeed")
    mp.start_processes(deepspeed_world.worker, (2, str(folder)), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def distance(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||, 0 where both are zero."""
    assert a.shape == b.shape and a.dtype == b.dtype
    gap = float((a.double() - b.double()).norm())
    return gap / float(b.double().norm()) if gap else 0.0


@needs_deepspeed
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_steps_are_those_of_ddp(strategy: str, name: str, ranks: list[Results]) -> None:
    """Losses, both gradients, v, weights at every step, then theta and Z, on each of the workers."""
    for results in ranks:
        reference, result = results["DDP", name], results[strategy, name]
        far = {key: distance(result["state"][key], reference["state"][key]) for key in ("theta", "Z")}
        for count, (a, b) in enumerate(zip(result["steps"], reference["steps"], strict=True)):
            assert a["values"].keys() == b["values"].keys() >= {"loss", "g_theta"}
            far |= {f"{key} of step {count}": distance(a["values"][key], b["values"][key]) for key in a["values"]}
        allowed = {key: TOLERANCE_WEIGHTS if key.startswith("weights") else TOLERANCE for key in far}
        assert {key: value for key, value in far.items() if not value <= allowed[key]} == {}


@needs_deepspeed
@pytest.mark.parametrize("strategy", ("DDP", *STRATEGIES))
def test_a_gradient_that_is_not_finite_shows_in_the_loss(strategy: str, ranks: list[Results]) -> None:
    """At once or a step later, on every worker: the trainer looks at the loss. DeepSpeed would skip such steps."""
    for results in ranks:
        assert not all(math.isfinite(loss) for loss in results[strategy, "kink"]), results[strategy, "kink"]


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("chunk", [1, 7 * 5, 10**6])
def test_adam_on_the_host_is_adam(staged: bool, chunk: int) -> None:
    """Row by row, in chunks that do not divide the rows, and at once: each value as torch's Adam has it."""
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(23, 5, generator=rng)
    z, reference = start.clone().requires_grad_(), start.clone().requires_grad_()
    host = HostAdam(z, 1e-2, "torch", chunk=chunk, staged=staged)
    adam = torch.optim.Adam([reference], 1e-2, fused=True)
    for _ in range(6):
        z.grad = torch.randn(23, 5, generator=rng)
        reference.grad = z.grad.clone()
        host.step()
        adam.step()
    assert distance(z.detach(), reference.detach()) < 1e-6 < distance(z.detach(), start)
    for key in ("step", "exp_avg", "exp_avg_sq"):
        assert distance(host.state[z][key], adam.state[reference][key]) < 1e-6


def test_on_the_cpu_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_adam, "_load", lambda device: pytest.fail("would compile"))
    said: list[str] = []
    assert cpu_adam.choose_host_adam("auto", torch.device("cpu"), Comm(), said.append) == "torch"
    monkeypatch.setattr(cpu_adam.shutil, "which", lambda name: None)
    assert cpu_adam.choose_host_adam("auto", torch.device("cuda"), Comm(), said.append) == "torch"
    assert len(said) == 1 and "no C++ compiler" in said[0]


def test_a_compilation_is_announced_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def load(device: torch.device) -> str:
        happened.append("load")
        return ""

    monkeypatch.setattr(cpu_adam, "_load", load)
    assert cpu_adam.choose_host_adam("deepspeed", torch.device("cpu"), Comm(), happened.append) == "deepspeed"
    assert "compiled, which takes minutes" in happened[0] and happened[1] == "load" and "is ready" in happened[2]


def test_a_compilation_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name: an error. Left to `auto`, on a GPU: torch's Adam, and the log says why."""
    monkeypatch.setattr(cpu_adam, "_load", lambda device: "no header")
    monkeypatch.setattr(cpu_adam.shutil, "which", lambda name: f"/{name}")
    with pytest.raises(UserError, match=r"cannot be built \(no header\); use torch"):
        cpu_adam.choose_host_adam("deepspeed", torch.device("cpu"), Comm(), print)
    said: list[str] = []
    assert cpu_adam.choose_host_adam("auto", torch.device("cuda"), Comm(), said.append) == "torch"
    assert "cannot be built (no header)" in said[-1]


@needs_deepspeed
def test_the_builder_is_found_in_an_environment_that_is_not_activated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ninja stands beside the interpreter and not on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found: list[str | None] = []

    def load(builder: Any, verbose: bool) -> None:
        found.append(cpu_adam.shutil.which("ninja"))

    from deepspeed.ops.op_builder import CPUAdamBuilder

    monkeypatch.setattr(CPUAdamBuilder, "load", load)
    assert cpu_adam._load(torch.device("cpu")) == "" and found[0] is not None
