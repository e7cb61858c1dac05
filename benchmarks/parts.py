"""Where the seconds of a step go, from torch's profiler: by pass of the step, and in each pass by operation.

The parts are the names that `bifair_dist/labels.py` gives, and torch's own of an optimiser's step. On a CPU a part has
the seconds between its beginning and its end, less those of the parts inside; on a GPU those of the kernels that were
started meanwhile. Collectives that DDP runs inside a backward pass count as backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bifair_dist.labels import OPERATIONS, PASSES

OPTIMISER, BACKWARD, OTHER, WHOLE = "optimiser", "backward", "other", "whole step"
Shares = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Span:
    """A named part from `start` to `end`, microseconds."""

    name: str
    start: float
    end: float


def shares(step: Callable[[], object], device: torch.device) -> Shares:
    """Share of one step by (pass, operation)."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as run:
        with torch.profiler.record_function(WHOLE):
            step()
        if on_gpu:
            torch.cuda.synchronize(device)
    events: Any = [e for e in run.events() or () if e.device_type == torch.autograd.DeviceType.CPU]
    spans = [Span(name, e.time_range.start, e.time_range.end) for e in events if (name := _part(e.name))]
    kernels = [(e.time_range.start, sum(k.duration for k in e.kernels)) for e in events if e.kernels]
    found = by_kernels(spans, kernels) if on_gpu else by_time(spans)
    whole = sum(found.values()) or 1.0
    return {key: value / whole for key, value in found.items()}


def by_time(spans: Iterable[Span]) -> Shares:
    """Microseconds of each part by (pass, operation), those of the parts inside it taken off."""
    found: Shares = {}
    inside: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        while inside and inside[-1].end <= span.start:
            inside.pop()
        length = span.end - span.start
        if inside:
            found[_place(inside)] -= length
        inside.append(span)
        found[_place(inside)] = found.get(_place(inside), 0.0) + length
    return found


def by_kernels(spans: Iterable[Span], kernels: Iterable[tuple[float, float]]) -> Shares:
    """The same for a GPU: each kernel, as (when it was started, how long it ran), counts where it was started."""
    found: Shares = {}
    spans = sorted(spans, key=lambda s: (s.start, -s.end))
    for at, length in kernels:
        place = _place([s for s in spans if s.start <= at < s.end])
        found[place] = found.get(place, 0.0) + length
    return found


def _place(inside: list[Span]) -> tuple[str, str]:
    """(pass, operation) of the innermost of nested parts."""
    own = next((s.name for s in reversed(inside) if s.name in (*PASSES, OPTIMISER)), OTHER)
    last = inside[-1].name if inside else OTHER
    return own, last if last in OPERATIONS else BACKWARD if own in PASSES else OTHER


def _part(name: str) -> str:
    if name.startswith("Optimizer.step#"):
        return OPTIMISER
    return name if name in (*PASSES, *OPERATIONS, WHOLE) else ""


def by(parts: list[list[Any]], axis: int) -> dict[str, float]:
    """Seconds of [pass, operation, seconds] summed over one axis: 0 keeps passes, 1 keeps operations."""
    found: dict[str, float] = {}
    for row in parts:
        found[row[axis]] = found.get(row[axis], 0.0) + row[2]
    return dict(sorted(found.items(), key=lambda named: (named[0] == OTHER, -named[1])))
