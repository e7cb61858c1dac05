"""The workers as the `Places` of the bi-level step, with the projector's inner update in a DeepSpeed engine.

The step needs the whole of theta and of g_theta on every worker (theta' = theta - xi g_theta, the perturbed passes), so
each keeps a full copy of theta beside the engine's. ZeRO splits what only the update needs: Adam's moments (1), the
reduced gradient (2), the engine's own parameters (3).

theta is one flat parameter of the engine, padded to a multiple of 2 W: one message in place of one for each
parameter, equal parts on every worker, and no parameter cut at an odd place (on which DeepSpeed 0.19's setters for
ZeRO 3 fail). Adam is elementwise: the numbers are the same, and the padding stays zero.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from torch import Tensor, nn

from bifair_dist.labels import labelled
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.deepspeed_setup import engine_config, import_deepspeed, process_group

MOMENTS = ("exp_avg", "exp_avg_sq")


class FlatLoss(nn.Module):
    """theta as one flat parameter [size], and this worker's part of the inner loss as `forward`."""

    def __init__(self, theta: Theta, model: Backbone, workers: int) -> None:
        super().__init__()
        self.model = model
        self.shapes = {name: t.shape for name, t in theta.items()}
        unit = 2 * workers  # ZeRO 1 and 2 align to pairs of elements
        self.padding = -sum(t.numel() for t in theta.values()) % unit
        self.flat = nn.Parameter(self.pack(theta))
        self.size = self.flat.numel()

    def pack(self, theta: Theta) -> Tensor:
        """All of theta in one row, zeros at its end: [size]."""
        parts = [theta[name].detach().reshape(-1) for name in self.shapes]
        return torch.cat([*parts, parts[0].new_zeros(self.padding)])

    def unpack(self, flat: Tensor) -> Theta:
        """Views of `flat` [size] by name."""
        *parts, _ = flat.split([*(shape.numel() for shape in self.shapes.values()), self.padding])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def forward(self, *data: Any) -> Tensor:
        """sum_i a_i l_i over this worker's slice, given (Z [m, d], batch, a [b]); without data 0, at gradient 0."""
        if not data:
            return self.flat.sum() * 0
        z, batch, coefficients = data
        return (coefficients * self.model.example_losses(self.unpack(self.flat), z, batch)).sum()


class DeepSpeedWorkers:
    """`Places` over the ranks of `comm`, which has to span the default process group.

    `theta`: the full copy that everything but the inner update works on. `optimizer`: the inner update, Adam with rate
    `lr`. The engine is made from `theta` when it is first needed: whoever loads a checkpoint before need not know of
    the copies in it (its setters leave those that it computes with as they were).
    """

    def __init__(self, comm: Comm, theta: Theta, model: Backbone, *, lr: float, stage: int) -> None:
        self.comm, self.lr, self.stage = comm, lr, stage
        self.theta: Theta = {name: nn.Parameter(t.detach().clone()) for name, t in theta.items()}
        self.loss = FlatLoss(self.theta, model, comm.size)
        self.optimizer = EngineAdam(self)
        self.adam: torch.optim.Optimizer | None = None
        self.engine: Any = None

    def use(self, model: Backbone) -> None:
        """Take the inner gradient on this model from now on."""
        self.loss.model = model

    def total(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum over the workers."""
        return self.comm.all_reduce_sum(tensor, tag)

    @labelled("inner gradient")
    def inner_gradient(self, z: Tensor, batch: Batch, coefficients: Tensor) -> tuple[Theta, Tensor]:
        """Gradient of the whole inner loss with respect to theta, and this worker's part of the loss.

        DeepSpeed takes the mean over workers of gradients that have to be summed, hence the factor W. `optimizer.step`
        has to follow: the engine keeps the gradient for it.

        Under ZeRO 3 the loss is NaN where the gradient is not finite: the engine would skip the step and every later
        one like it, with a loss that looks well.
        """
        if self.engine is None:
            self.start()
        from deepspeed.utils import safe_get_full_grad

        loss: Tensor = self.engine(z.detach(), batch, coefficients)
        self.engine.backward(loss * self.comm.size)
        gradient: Tensor = safe_get_full_grad(self.loss.flat)  # there only until the engine's step
        loss = loss.detach()
        if self.stage == 3:
            loss = torch.where(gradient.isfinite().all(), loss, torch.nan)
        return self.loss.unpack(gradient), loss

    def start(self) -> None:
        """Make the engine from `theta`, with Adam at its start."""
        device = next(iter(self.theta.values())).device
        deepspeed = import_deepspeed(device)
        process_group(device, self.comm.size)
        self.loss = FlatLoss(self.theta, self.loss.model, self.comm.size)
        self.adam = torch.optim.Adam(self.loss.parameters(), self.lr, fused=True)
        self.engine, *_ = deepspeed.initialize(
            args=Namespace(device_rank=device.index or 0),
            model=self.loss,
            optimizer=self.adam,
            config=engine_config(self.stage, self.loss.size),
            dist_init_required=False,
        )
        # The moments are there, and known to the engine, only after a step: one with gradient 0 leaves theta and both
        # moments as they were.
        self.engine.backward(self.engine())
        self.engine.step()
        self.slots["step"].zero_()

    @property
    def slots(self) -> dict[str, Tensor]:
        """This worker's part of Adam's state; the engine has one group of one flat part."""
        assert self.adam is not None
        (slots,) = self.adam.state.values()
        return slots


class EngineAdam(torch.optim.Optimizer):
    """The engine's Adam as an optimiser of the full copy of theta, whose state is there on demand.

    `state` is empty except between `gather` and the next step: full moments on every worker, as torch's own Adam has
    them, so that a checkpoint does not tell which strategy wrote it.
    """

    def __init__(self, places: DeepSpeedWorkers) -> None:
        super().__init__(list(places.theta.values()), {"lr": places.lr})
        self.places = places

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update by the gradient that the engine holds, not by `grad`; then renew the full copy."""
        from deepspeed.utils import safe_get_full_fp32_param

        places = self.places
        places.engine.step()
        for name, value in places.loss.unpack(safe_get_full_fp32_param(places.loss.flat)).items():
            places.theta[name].copy_(value)
        self.state.clear()

    def gather(self) -> None:
        """Fill `state`. All workers call it together."""
        places = self.places
        if places.engine is None:
            moments = {key: {name: torch.zeros_like(p) for name, p in places.theta.items()} for key in MOMENTS}
            steps = torch.zeros(())
        else:
            from deepspeed.utils import safe_get_full_optimizer_state

            flat = places.loss.flat
            moments = {key: places.loss.unpack(safe_get_full_optimizer_state(flat, key)) for key in MOMENTS}
            steps = places.slots["step"].cpu()
        for name, parameter in places.theta.items():
            self.state[parameter] = {"step": steps.clone(), **{key: moments[key][name] for key in MOMENTS}}

    def scatter(self) -> None:
        """Go on from theta and from `state` as they are now. All workers call it together."""
        from deepspeed.utils import safe_set_full_optimizer_state

        places = self.places
        places.start()
        for key in MOMENTS:
            full = {name: self.state[parameter][key] for name, parameter in places.theta.items()}
            safe_set_full_optimizer_state(places.loss.flat, places.loss.pack(full), key)
        places.slots["step"].fill_(float(next(iter(self.state.values()))["step"]))
        self.state.clear()
