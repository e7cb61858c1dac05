"""Names for the parts of a step, for torch's profiler: a pass ("inner gradient"), an operation ("propagation").

`jobs/benchmark.py` reads them; a trace of any torch.profiler shows them. Without a profiler a call costs 0.6
microseconds more, where `record_function` alone costs 12.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch.profiler import record_function

from bifair_dist.compat import profiler_runs

P = ParamSpec("P")
R = TypeVar("R")
PASSES = ("inner gradient", "outer gradients", "perturbed passes", "new weights")
"""Each is forward and backward over the batch, one after another in a step."""
OPERATIONS = ("projection", "propagation", "loss", "exchange")
"""Inside a pass; the rest of a pass is its backward."""


def labelled(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The function under `name` in the profiler, where one runs."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not profiler_runs():
                return function(*args, **kwargs)
            with record_function(name):
                return function(*args, **kwargs)

        return call

    return decorate
