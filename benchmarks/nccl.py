"""The core in a process group of one: the collectives, the differentiable exchanges and DDP run and change nothing.

    torchrun --standalone --nproc-per-node 1 -m benchmarks.nccl        NCCL on a GPU, gloo without one

Exit code 1 where a result is not that of a run without a process group. Milliseconds of 64 MiB each; with one process
nothing leaves the device, so they are the cost of the call.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.core import TINY, Problem
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.exchange import ToColumns, ToRows
from bifair_dist.parallel.places import InnerLoss

ELEMENTS = 1 << 24


def median_ms(work: Callable[[], object], device: torch.device) -> float:
    found = []
    for _ in range(8):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found[2:])


def main() -> int:
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    start = time.perf_counter()
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    comm, inner = Comm(dist.group.WORLD), dist.new_group()
    buffer = torch.ones(ELEMENTS, device=device)
    dist.all_reduce(buffer)
    found: dict[str, Any] = {"backend": dist.get_backend(), "start_seconds": time.perf_counter() - start}
    found["all_reduce_ms"] = median_ms(lambda: dist.all_reduce(buffer), device)
    counts = [ELEMENTS]
    found["all_to_all_ms"] = median_ms(lambda: comm.all_to_all(buffer, counts, counts, "test"), device)

    rows = torch.randn(37, 8, dtype=torch.float64, device=device, requires_grad=True)
    columns = ToColumns.apply(rows, 37, comm, "test")
    back = ToRows.apply(columns, 8, comm, "test")
    (gradient,) = torch.autograd.grad((back**2).sum(), rows, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), rows)
    found["exchanges_equal"] = bool(torch.equal(back, rows) and torch.allclose(second, 8 * rows))

    alone, here = Problem.generate(TINY, device), Problem.generate(TINY, device, comm)
    batch = alone.sampler.batch(0, 0).to(device)
    one, two = (problem.step(dtype=torch.float64) for problem in (alone, here))
    first, other = (step(0, batch, lambda: batch) for step in (one, two))
    found["steps_equal"] = all(torch.allclose(x, y, rtol=1e-10) for x, y in ((first.loss, other.loss), (one.z, two.z)))
    coefficients = one.coefficients(batch)
    plain, _ = here.step(dtype=torch.float64).places.inner_gradient(one.z, batch, coefficients)
    module = InnerLoss(here.step(dtype=torch.float64).theta, here.step(dtype=torch.float64).model)
    DistributedDataParallel(module, process_group=inner)(one.z.detach(), batch, coefficients).backward()
    found["ddp_equal"] = all(torch.allclose(plain[n], p.grad, rtol=1e-10) for n, p in module.theta.items())  # type: ignore[arg-type]
    print(found, flush=True)
    dist.destroy_process_group()
    return int(not all(value for name, value in found.items() if name.endswith("_equal")))


if __name__ == "__main__":
    raise SystemExit(main())
