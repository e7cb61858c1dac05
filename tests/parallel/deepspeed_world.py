"""The cases of `world.py` under DDP, each stage of ZeRO, and with Z's Adam on the host, in one process of a world."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from world import CASES, RATE, InnerLevel, adam_of, run_case, under_ddp

from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.deepspeed_engine import DeepSpeedWorkers
from bifair_dist.parallel.host_adam import HostAdam

# Projectors of 187, 177 and 84 numbers: none of the first two can be cut into equal parts without padding.
NAMES = ("plain", "pool before the first layer", "linear projector", "two inner steps", "exact", "plain loss")
STRATEGIES = ("ZeRO 1", "ZeRO 2", "ZeRO 3", "Z's moments on the host")


def under_zero(
    model: AlphaRec, theta: Theta, comm: Comm, inner_group: dist.ProcessGroup | None, stage: int
) -> InnerLevel:
    """DeepSpeed in the place of DDP."""
    places = DeepSpeedWorkers(comm, theta, model, lr=RATE, stage=stage)
    return places.theta, places, places.optimizer


def on_the_host(z: Tensor) -> torch.optim.Optimizer:
    """Three rows at a time, through buffers, as on a GPU."""
    return HostAdam(z, RATE, "torch", chunk=3 * z.shape[1], staged=True)


LEVELS: dict[str, tuple[Callable[..., InnerLevel], Callable[[Tensor], torch.optim.Optimizer]]] = {
    "DDP": (under_ddp, adam_of),
    **{f"ZeRO {stage}": (partial(under_zero, stage=stage), adam_of) for stage in (1, 2, 3)},
    STRATEGIES[3]: (partial(under_zero, stage=2), on_the_host),
}


class Kink:
    """In the place of the backbone: a loss of 0 whose gradient is not finite."""

    def example_losses(self, theta: Theta, z: Tensor, batch: Any) -> Tensor:
        return (theta["w1"].sum() * 0).sqrt().reshape(1)


def losses_of_kink(inner_level: Callable[..., InnerLevel], comm: Comm, group: dist.ProcessGroup | None) -> list[float]:
    """The losses of two inner steps."""
    theta, places, adam = inner_level(Kink(), {"w1": torch.ones(3, 2)}, comm, group)
    losses = []
    for _ in range(2):
        gradient, loss = places.inner_gradient(torch.zeros(1, 2), None, torch.ones(1))
        for name, parameter in theta.items():
            parameter.grad = gradient[name]
        adam.step()
        adam.zero_grad()
        losses.append(float(loss))
    return losses


def run_strategies(comm: Comm, inner_group: dist.ProcessGroup | None) -> dict[tuple[str, str], Any]:
    """Every case by (strategy, case), and "kink"; "DDP" is what the others are held against."""
    out: dict[tuple[str, str], Any] = {
        (strategy, name): run_case(CASES[name], torch.float32, comm, inner_group, inner, z_adam)
        for strategy, (inner, z_adam) in LEVELS.items()
        for name in NAMES
    }
    return out | {(name, "kink"): losses_of_kink(inner, comm, inner_group) for name, (inner, _) in LEVELS.items()}


def worker(rank: int, size: int, folder: str) -> None:
    """Entry point of a spawned process; writes `<folder>/<rank>.pt`."""
    torch.set_num_threads(1)
    limit = timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=size, timeout=limit)
    torch.save(run_strategies(Comm(dist.group.WORLD), dist.new_group()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
