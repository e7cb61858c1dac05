"""One of several processes that work together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Worker:
    """`group`: all workers, None: this one is alone; `inner_group`: the same ones again, for DDP, whose collectives
    must not mix with ours.

    `report` hands a validation's figures to the launcher, where it asks for them: every worker calls it equally often.
    `seen`: whether what this process prints reaches the person.
    """

    group: dist.ProcessGroup | None
    inner_group: dist.ProcessGroup | None
    device: torch.device
    report: Callable[[dict[str, float]], None] | None = None
    seen: bool = True

    @property
    def is_first(self) -> bool:
        """Whether this is the first worker, which speaks for all."""
        return self.group is None or dist.get_rank(self.group) == 0


def device_of(local: int) -> torch.device:
    """The device of the worker with this number on its machine; workers share GPUs where there are fewer."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def backend_of(device: torch.device) -> str:
    """torch.distributed's backend for a device."""
    return "nccl" if device.type == "cuda" else "gloo"
