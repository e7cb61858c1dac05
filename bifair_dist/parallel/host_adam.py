"""Adam of Z with its moments in host memory: the GPU holds Z and its gradient, and no optimiser state.

Chunks of rows of Z and of its gradient go to the host, are updated there, and come back; Z on the device stays the
only copy of Z, so nothing has to be kept in step with it. Only the two staging buffers are pinned.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

CHUNK = 1 << 24
"""Elements in a staging buffer: 64 MiB."""


class HostAdam(torch.optim.Optimizer):
    """Adam on one matrix Z [m, d] in float32; `state` as torch's own Adam has it, but on the host.

    Args:
        z: a leaf, on any device.
        lr: rate.
        kernel: torch's Adam, or DeepSpeedCPUAdam, which has to be built already (cpu_adam.py).
        chunk: elements that are staged at a time, at least a row.
        staged: whether to go through staging buffers; without, Z is updated in place, which a Z on the host allows.
    """

    def __init__(
        self,
        z: Tensor,
        lr: float,
        kernel: Literal["torch", "deepspeed"],
        chunk: int = CHUNK,
        staged: bool | None = None,
    ) -> None:
        super().__init__([z], {"lr": lr})
        self.z, self.rows = z, max(1, min(z.shape[0], chunk // z.shape[1]))
        self.steps = torch.zeros(())
        self.state[z] = {
            "step": self.steps,
            "exp_avg": torch.zeros(z.shape, dtype=z.dtype),
            "exp_avg_sq": torch.zeros(z.shape, dtype=z.dtype),
        }
        self._buffers: tuple[Tensor, Tensor] | None = None
        if z.device.type != "cpu" if staged is None else staged:
            self._buffers = (self._buffer(), self._buffer())
        self._part = nn.Parameter(torch.empty(0, dtype=z.dtype))
        self._kernel = _kernel(kernel, self._part, lr)
        self._counts_in_tensors = kernel == "torch"

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every row by `z.grad`."""
        gradient = self.z.grad
        if gradient is None:
            return
        moments = self.state[self.z]
        for start in range(0, self.z.shape[0], self.rows):
            rows = slice(start, start + self.rows)
            z, g = self._on_host(self.z.data[rows], 0), self._on_host(gradient[rows], 1)
            self._part.data, self._part.grad = z, g
            # Every chunk is at the same step; the kernel counts it up.
            steps: Any = self.steps.clone() if self._counts_in_tensors else int(self.steps)
            self._kernel.state[self._part] = {
                "step": steps,
                "exp_avg": moments["exp_avg"][rows],
                "exp_avg_sq": moments["exp_avg_sq"][rows],
            }
            self._kernel.step()
            if self._buffers is not None:
                self.z.data[rows].copy_(z)
        self._part.grad = None
        self.steps += 1

    def _buffer(self) -> Tensor:
        return torch.empty((self.rows, self.z.shape[1]), dtype=self.z.dtype, pin_memory=self.z.is_cuda)

    def _on_host(self, rows: Tensor, which: int) -> Tensor:
        if self._buffers is None:
            return rows
        return self._buffers[which][: rows.shape[0]].copy_(rows)


def _kernel(name: str, part: Tensor, lr: float) -> torch.optim.Optimizer:
    if name == "torch":
        return torch.optim.Adam([part], lr, fused=True)
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    kernel: torch.optim.Optimizer = DeepSpeedCPUAdam([part], lr, adamw_mode=False)
    return kernel
