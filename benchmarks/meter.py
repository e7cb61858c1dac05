"""A stopwatch for a device, within a budget of time."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Found = dict[str, Any]


class Meter:
    """Medians of milliseconds and peaks of memory on a device, within what is left of the time."""

    def __init__(self, device: torch.device, seconds: float, rounds: int) -> None:
        self.rounds, self.end = rounds, time.monotonic() + seconds
        self.cuda = device.type == "cuda"

    def wait(self) -> None:
        """End when the device has done what it was given."""
        if self.cuda:
            torch.cuda.synchronize()

    def left(self) -> float:
        """Seconds until no measurement starts."""
        return self.end - time.monotonic()

    def measure(self, name: str, into: Found, make: Callable[[], Callable[[], object]], most: float = 2.0) -> None:
        """Set up by `make` what is then timed for at most `most` seconds; a failure for lack of memory is recorded."""
        if self.left() < most + 2:
            into[name] = {"skipped": "time"}
            return
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            work, end, found = make(), time.monotonic() + most, list[float]()
            work()
            while not found or (len(found) < self.rounds and time.monotonic() < end):
                self.wait()
                start = time.perf_counter()
                work()
                self.wait()
                found.append(1e3 * (time.perf_counter() - start))
            into[name] = {"ms": statistics.median(found), "least_ms": min(found), "rounds": len(found)}
            if self.cuda:
                into[name]["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        except torch.OutOfMemoryError:
            into[name] = {"skipped": "memory"}
        print(f"  {name}: {into[name]}", flush=True)
