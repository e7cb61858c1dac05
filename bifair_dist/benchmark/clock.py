"""Where the seconds of a step go: by pass of the step, and in each pass by operation.

Functions of the step are wrapped while it runs. Each operation counts its own time only, what it calls is taken off;
on a GPU the device is waited for at both ends, which costs some overlap. All-reduces that DDP runs inside a backward
pass count as backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch

from bifair_dist.bilevel import exact, finite_difference
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.model import alpharec
from bifair_dist.parallel.comm import Comm

OPERATIONS: tuple[tuple[Any, str, str], ...] = (
    (alpharec, "first", "projection"), (alpharec, "second", "projection"), (alpharec, "light_gcn", "propagation"),
    (alpharec, "mean_of_items", "propagation"), (alpharec, "info_nce", "loss"), (Comm, "all_to_all", "exchange"),
    (Comm, "all_reduce_sum", "exchange"), (torch.autograd, "grad", "backward"), (torch.Tensor, "backward", "backward"),
)  # fmt: skip
PASSES: tuple[tuple[Any, str, str], ...] = (
    (finite_difference, "outer_gradients", "outer gradients"), (finite_difference, "z_gradient", "perturbed passes"),
    (exact, "outer_gradients", "outer gradients"), (exact, "mixed_product", "perturbed passes"),
    (BilevelStep, "refresh_weights", "Gram and weights"),
)  # fmt: skip
OTHER = "other"


@dataclass(slots=True)
class _Frame:
    """A call that is running: the pass it belongs to, and the seconds of what it called."""

    part: str
    called: float = 0.0


@dataclass(slots=True)
class Clock:
    """Seconds by (pass, operation); `wait` ends when the device has done what it was given."""

    wait: Callable[[], None] = lambda: None
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    _inside: list[_Frame] = field(default_factory=list)

    def timed(self, function: Callable[..., Any], *, part: str = "", operation: str = "") -> Callable[..., Any]:
        """`function`, its own seconds added to pass `part` (that of its caller unless told) and `operation`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            here = part or (self._inside[-1].part if self._inside else OTHER)
            self.wait()
            start, frame = time.perf_counter(), _Frame(here)
            self._inside.append(frame)
            try:
                return function(*args, **kwargs)
            finally:
                self.wait()
                spent = time.perf_counter() - start
                self._inside.pop()
                key = (here, operation or OTHER)
                self.seconds[key] = self.seconds.get(key, 0.0) + spent - frame.called
                if self._inside:
                    self._inside[-1].called += spent

        return call

    @contextmanager
    def watching(self, step: BilevelStep) -> Iterator[None]:
        """The step's functions wrapped, until the end of the block."""
        with ExitStack() as stack:

            def wrap(owner: Any, name: str, **where: str) -> None:
                timed = self.timed(getattr(owner, name), **where)
                stack.enter_context(mock.patch.object(owner, name, timed))

            for owner, name, operation in OPERATIONS:
                wrap(owner, name, operation=operation)
            for owner, name, part in PASSES:
                wrap(owner, name, part=part)
            wrap(step.places, "inner_gradient", part="inner gradient")
            for optimizer in (step.theta_optimizer, step.z_optimizer):
                if optimizer is not None:
                    wrap(optimizer, "step", part="optimiser")
            yield
