"""What this worker's hardware reaches while the others run too: the rates that every bound is made of.

    matrix rate   2 n^3 / seconds of a float32 product of n x n matrices
    bandwidth     bytes read and written / seconds of a sum of two long vectors
    link          bytes sent / seconds of an all-to-all, and seconds of an all-reduce of one number (latency)

The best of some rounds, of the slowest worker: what nothing else on the machine has slowed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from bifair_dist.hardware import Hardware
from bifair_dist.parallel.comm import Comm

ROUNDS = 7
SIDE = {"cpu": 1024, "cuda": 8192}
"""n of the matrices."""
STREAM = {"cpu": 1 << 24, "cuda": 1 << 28}
"""Numbers of a vector: 64 MiB on a CPU, beyond its cache levels of its own."""
SENT = 1 << 22
"""Numbers that a worker exchanges: 16 MiB."""


def measured_rates(comm: Comm, device: torch.device, wait: Callable[[], None]) -> Hardware:
    """The rates as a profile with nothing taken off; `wait` ends when the device has done what it was given."""

    def seconds(work: Callable[[], object]) -> float:
        found = []
        for _ in range(1 + ROUNDS):
            comm.gather_objects(None)  # all at once, as in a step
            start = time.perf_counter()
            work()
            wait()
            found.append(time.perf_counter() - start)
        return max(comm.gather_objects(min(found[1:])))

    n = SIDE[device.type]
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    out = torch.empty_like(a)
    flops = 2 * n**3 / seconds(lambda: torch.mm(a, b, out=out))
    x = torch.randn(STREAM[device.type], device=device)
    y, z = torch.ones_like(x), torch.empty_like(x)
    bandwidth = 3 * x.numel() * x.element_size() / seconds(lambda: torch.add(x, y, out=z))
    link, latency = 0.0, 0.0
    if comm.size > 1:
        shares = [SENT // comm.size] * comm.size
        buffer = torch.ones(sum(shares), device=device)
        one = torch.ones(1, device=device)
        sent = 4 * (sum(shares) - shares[comm.rank])
        link = sent / seconds(lambda: comm.all_to_all(buffer, shares, shares, "rates"))
        latency = seconds(lambda: comm.all_reduce_sum(one, "rates"))
    return Hardware(
        name="measured",
        memory=0.0,
        sharing=1,
        flops=flops,
        flops16=flops,
        bandwidth=bandwidth,
        link=link,
        latency=latency,
        host_link=0.0,
        dense=1.0,
        streaming=1.0,
        source="benchmark/rates.py, in this run",
    )
