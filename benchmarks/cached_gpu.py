"""Full and cached propagation on one device at growing catalogues: milliseconds of a step, refresh, memory, epoch.

    python -m benchmarks.cached_gpu --output FOLDER                                    on a GPU, 120 s at most
    python -m benchmarks.cached_gpu --output FOLDER --device cpu --items 300 600 --width 32        here, seconds
    python -m benchmarks.cached_gpu --output FOLDER --device cpu --items 125000 250000 500000 1000000 --width 256 \
        --full-up-to 125000 --seconds 900        here, 10 minutes, 10 GB

U = N / 2, E = 20 N. Needs torch only (no Ray, pyarrow, MLflow). FOLDER/cached_gpu.json and cached_gpu.md are written
anew after each size, so that a run that is killed leaves what it had. Milliseconds are medians over steps without new
weights, drawing of the batch included, with the device waited for at both ends; peaks are the allocator's. An epoch is
computed: its steps times a step, and for cached propagation a refresh in every 64.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.core import Problem, Size
from benchmarks.gpu import PLAIN, Found, Meter
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.commit import commit
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.cached import CachedAlphaRec
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.touched import TouchedRows

ITEMS, WIDTH, INTERVAL = (20_000, 80_000, 320_000, 1_280_000), 1024, 64
PAIRS_AN_ITEM = 20


def cached(problem: Problem, *, bilevel: bool) -> CachedStep:
    """`Problem.step` on cached propagation; refreshes when it is told to alone."""
    plain = problem.step(bilevel=bilevel)
    assert isinstance(plain.model, AlphaRec)
    z = plain.z.detach()
    model = CachedAlphaRec(plain.model, TouchedRows(problem.comm, problem.graph, 2 if bilevel else 0))
    inner = InnerLoss({name: t.detach() for name, t in plain.theta.items()}, model)
    step = CachedStep(
        model=model,
        outer_model=model,
        theta=inner.theta,
        z=z,
        places=Workers(problem.comm, inner, None),
        theta_optimizer=torch.optim.Adam(inner.parameters(), 1e-3, fused=True),
        z_optimizer=LazyAdam(z, 1e-3) if bilevel else None,
        balance=plain.balance,
        membership=plain.membership,
        xi=plain.xi,
        eps=plain.eps,
        cached=model,
        comm=problem.comm,
        interval=10**9,  # PLAIN is number 1 of them
    )
    model.refresh(step.theta, z)
    return step


def measure(meter: Meter, problem: Problem, found: Found, full: bool) -> None:
    """Steps of cached and of full propagation, theta alone and bi-level, and a refresh."""
    drawn = iter(range(10**9))

    def turns(step: BilevelStep) -> Callable[[], object]:
        def once() -> object:
            batch = problem.sampler.batch(0, next(drawn)).to(problem.device)
            return step(PLAIN, batch, lambda: batch)

        return once

    def refresh() -> Callable[[], object]:
        step = cached(problem, bilevel=True)
        return lambda: step.cached.refresh(step.theta, step.z)

    meter.measure("refresh", found, refresh, 1.5)
    meter.measure("cached, theta", found, lambda: turns(cached(problem, bilevel=False)), 1.5)
    meter.measure("cached, bi-level", found, lambda: turns(cached(problem, bilevel=True)), 1.5 if meter.cuda else 6.0)
    if full:
        meter.measure("full, theta", found, lambda: turns(problem.step(bilevel=False)), 3.0)
        meter.measure("full, bi-level", found, lambda: turns(problem.step()), 3.0)


def table(results: list[Found]) -> str:
    """All sizes as Markdown."""
    lines = [
        "| N | U | E | step | full, ms | cached, ms | refresh, ms | full, MiB | cached, MiB | epoch full, s | cached |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        found, steps = result["steps"], result["steps_per_epoch"]
        for name in ("theta", "bi-level"):
            full, ours, refresh = (found.get(k, {}) for k in (f"full, {name}", f"cached, {name}", "refresh"))

            def cell(row: Found, key: str, form: str = "{:,.1f}") -> str:
                return form.format(row[key]) if key in row else f"no {row.get('skipped', 'figure')}"

            epochs = [
                f"{steps * full['ms'] / 1e3:,.0f}" if "ms" in full else "",
                f"{steps * (ours['ms'] + refresh['ms'] / INTERVAL) / 1e3:,.0f}"
                if "ms" in ours and "ms" in refresh
                else "",
            ]
            cells = [f"{result[k]:,}" for k in ("items", "users", "pairs")] + [name]
            cells += [cell(full, "ms"), cell(ours, "ms"), cell(refresh, "ms")]
            cells += [cell(full, "peak_mib", "{:,.0f}"), cell(ours, "peak_mib", "{:,.0f}"), *epochs]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--full-up-to", type=int, default=10**9, help="items up to which full steps are measured")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--rounds", type=int, default=9, help="of a measurement at most")
    parser.add_argument("--seconds", type=float, default=105.0, help="what starts later than this is left out")
    args = parser.parse_args()
    device = torch.device(args.device)
    meter = Meter(device, args.seconds, args.rounds)
    args.output.mkdir(parents=True, exist_ok=True)
    hardware = torch.cuda.get_device_name() if meter.cuda else platform.processor()
    about = f"commit {commit()}; {hardware}; Python {platform.python_version()}, torch {torch.__version__}"
    results = list[Found]()
    for n in args.items:
        size = Size(n // 2, n, PAIRS_AN_ITEM * n, args.width)
        print(f"{size}, {meter.left():.0f} s left", flush=True)
        result: Found = {"items": n, "users": n // 2, "pairs": PAIRS_AN_ITEM * n, "width": args.width, "steps": {}}
        problem = None
        try:
            problem = Problem.generate(size, device)
            meter.wait()
            result["pairs"], result["steps_per_epoch"] = problem.graph.n_edges, problem.sampler.steps_per_epoch
            print(f"  generated; {meter.left():.0f} s left", flush=True)
            results.append(result)
            measure(meter, problem, result["steps"], n <= args.full_up_to)
            result["process_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        except (torch.OutOfMemoryError, RuntimeError) as error:
            result["failed"] = str(error).splitlines()[0]
            print(f"  failed: {result['failed']}", flush=True)
        (args.output / "cached_gpu.json").write_text(json.dumps({"about": about, "results": results}, indent=1))
        text = f"# Full and cached propagation on one device, d = {args.width}\n\n{about}\n\n{table(results)}\n"
        (args.output / "cached_gpu.md").write_text(text)


if __name__ == "__main__":
    main()
