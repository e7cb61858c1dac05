"""What a training has to remember to go on exactly where it was.

Batches and negatives are functions of (seed, epoch, step) and nothing else draws random numbers, so the position stands
for the sampler and for the random state. Tensors that a phase does not move are not stored: they are what the run
started from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.deepspeed_engine import EngineAdam
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.sharded_tensors import Rows
from bifair_dist.training.averaging import Average
from bifair_dist.training.lazy_averaging import LazyAverage

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class Position:
    """Where a run stands: the next step is `step` of `epoch` of `phase` (indices from 0).

    `count`: steps done in the phase; `total`: in the run. `best`: checkpoint with the best validation of the phase,
    empty before the first. `loss_sum` and `pairs`: of the epoch so far, over all workers. `before`: metrics of the
    state that the fair phases started from.
    """

    phase: int
    patience: int
    total: int = 0
    epoch: int = 0
    step: int = 0
    count: int = 0
    best: str = ""
    best_value: float | None = None
    loss_sum: float = 0.0
    pairs: float = 0.0
    seconds: float = 0.0
    before: dict[str, Any] | None = None


class Snapshot:
    """The tensors and numbers of one phase, as views: saving copies nothing, loading works in place.

    Under DeepSpeed, theta's moments are gathered copies, which `restore` hands back to the engine: every strategy
    writes the same tensors and goes on from another one's.
    """

    def __init__(self, step: BilevelStep, average: Average | LazyAverage, n_items: int) -> None:
        self.step, self.average, self.n = step, average, n_items

    def tensors(self) -> dict[str, Tensor | Rows]:
        """Everything stored, by name; Adam's moments are made (as zeros) where it has not stepped yet.

        All workers call it together.
        """
        train_z = self.step.z_optimizer is not None
        out: dict[str, Tensor | Rows] = {f"theta.{name}": p for name, p in self.step.theta.items()}
        if train_z:
            out["z"] = Rows(self.step.z, self.n)
        if self.average.kept:
            theta, z = self.average.averaged
            out |= {f"average.theta.{name}": p for name, p in theta.items()}
            if train_z:
                out["average.z"] = Rows(z, self.n)
        if isinstance(self.step.theta_optimizer, EngineAdam):
            self.step.theta_optimizer.gather()
        if self.step.theta_optimizer is not None:
            for name, parameter in self.step.theta.items():
                slots = _slots(self.step.theta_optimizer, parameter)
                out |= {f"adam.theta.{name}.{m}": slots[m] for m in _MOMENTS}
        if (penalty := self.step.penalty) is not None:
            for name, parameter in penalty.theta.items():
                slots = _slots(penalty.optimizer, parameter)
                out |= {f"penalty.theta.{name}": parameter.detach()}
                out |= {f"penalty.adam.theta.{name}.{m}": slots[m] for m in _MOMENTS}
        if self.step.z_optimizer is not None:
            slots = _slots(self.step.z_optimizer, self.step.z)
            moments = (*_MOMENTS, "steps") if isinstance(self.step.z_optimizer, LazyAdam) else _MOMENTS
            out |= {f"adam.z.{m}": Rows(slots[m], self.n) for m in moments}
        if isinstance(self.step, CachedStep):
            out |= {f"cache.{name}": Rows(*rows) for name, rows in self.step.stored().items()}
        return out

    def best_tensors(self) -> dict[str, Tensor | Rows]:
        """Names in a checkpoint of what was validated, on the tensors that training goes on with."""
        prefix = "average." if self.average.kept else ""
        out: dict[str, Tensor | Rows] = {f"{prefix}theta.{name}": p for name, p in self.step.theta.items()}
        if self.step.z_optimizer is not None:
            out[f"{prefix}z"] = Rows(self.step.z, self.n)
        return out

    def state(self, position: Position) -> dict[str, Any]:
        """The numbers, as JSON; floats survive it exactly."""
        balance = self.step.balance
        return {
            "position": asdict(position),
            "average_steps": self.average.steps,
            "adam_steps": [_steps(o) for o in (self.step.theta_optimizer, self.step.z_optimizer)],
            "weights": None if balance is None else {k: v.tolist() for k, v in balance.state_dict().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the numbers; the tensors are loaded into `tensors()` before."""
        self.average.go_on_from(int(state["average_steps"]))
        if isinstance(self.step, CachedStep):
            self.step.reload()
        follower = None if self.step.penalty is None else self.step.penalty.optimizer  # steps as often as theta
        optimizers = (self.step.theta_optimizer, self.step.z_optimizer, follower)
        for optimizer, steps in zip(optimizers, [*state["adam_steps"], state["adam_steps"][0]], strict=True):
            for slots in optimizer.state.values() if optimizer is not None else ():
                if "step" in slots:  # LazyAdam counts by row
                    slots["step"].fill_(steps)
        if isinstance(self.step.theta_optimizer, EngineAdam):
            self.step.theta_optimizer.scatter()
        if self.step.balance is not None:
            weights = {k: torch.tensor(v, dtype=torch.float64) for k, v in state["weights"].items()}
            self.step.balance.load_state_dict(weights)


def _slots(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Adam's state of a parameter, as torch would make it at the first step of a fused one."""
    slots: dict[str, Tensor] = optimizer.state[parameter]
    if not slots:
        slots["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        for moment in _MOMENTS:
            slots[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return slots


def _steps(optimizer: torch.optim.Optimizer | None) -> float:
    slots = next(iter(optimizer.state.values()), None) if optimizer is not None else None
    return 0.0 if slots is None else float(slots.get("step", 0.0))
