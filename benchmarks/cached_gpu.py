"""Full and cached propagation on one device at growing catalogues: milliseconds of a step, refresh, memory, epoch.

    python -m benchmarks.cached_gpu --output FOLDER                                    on a GPU, 120 s at most
    python -m benchmarks.cached_gpu --output FOLDER --device cpu --items 300 600 --width 32        here, seconds
    OMP_NUM_THREADS=1 python -m benchmarks.cached_gpu --output FOLDER --device cpu --width 256 --full-up-to 125000 \
        --items 125000 250000 500000 1000000 --rounds 40 --seconds 1500        here, 15 minutes, 8 GiB

U = N / 2, E = 20 N. Needs torch only (no Ray, pyarrow, MLflow). FOLDER/cached_gpu.json and cached_gpu.md are written
anew after each size, so that a run that is killed leaves what it had. Milliseconds are medians over steps, drawing of
the batch included, with the device waited for at both ends; peaks are the allocator's, on the CPU the process's while
it measured (pairs and graph included). An epoch is computed and not run: its steps times a step, for bi-level ones
every tenth with new weights, and for cached propagation a refresh in every 64.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.core import REFRESH, Problem, Size
from benchmarks.gpu import PLAIN
from benchmarks.meter import Found, Meter
from benchmarks.record import machine, memory, reset_peak
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.commit import commit
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.cached import CachedAlphaRec
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.touched import TouchedRows

ITEMS, WIDTH, INTERVAL = (20_000, 80_000, 320_000, 1_280_000), 1024, 64
WEIGHTS = REFRESH
"""Number of a step with new weights."""
PAIRS_AN_ITEM = 20


def cached(problem: Problem, *, bilevel: bool) -> CachedStep:
    """`Problem.step` on cached propagation; refreshes only when asked."""
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
    most = 2.0 if meter.cuda else 30.0

    def turns(step: BilevelStep, count: int = PLAIN) -> Callable[[], object]:
        def once() -> object:
            batch = problem.sampler.batch(0, next(drawn)).to(problem.device)
            return step(count, batch, lambda: batch)

        return once

    def refresh() -> Callable[[], object]:
        step = cached(problem, bilevel=True)
        return lambda: step.cached.refresh(step.theta, step.z)

    def kinds(name: str, make: Callable[[bool], BilevelStep]) -> None:
        """A step of theta, a bi-level one, and one with new weights; on the CPU their peak, too."""
        meter.measure(f"{name}, theta", found, lambda: turns(make(False)), most / 2)
        meter.measure(f"{name}, bi-level", found, lambda: turns(make(True)), most)
        meter.measure(f"{name}, new weights", found, lambda: turns(make(True), WEIGHTS), most / 2)
        if not meter.cuda and "ms" in found[f"{name}, bi-level"]:
            found[f"{name}, bi-level"]["peak_mib"] = memory("VmHWM") / 2**20

    if not meter.cuda:
        reset_peak()
    meter.measure("refresh", found, refresh, 1.5)
    kinds("cached", lambda bilevel: cached(problem, bilevel=bilevel))
    if full:
        if not meter.cuda:
            reset_peak()
        kinds("full", lambda bilevel: problem.step(bilevel=bilevel))


def epoch_seconds(result: Found, name: str, kind: str) -> float | None:
    """Of `name` ("full", "cached") at steps of `kind` ("theta", "bi-level"); None where a part was not measured."""
    found = result["steps"]
    wanted = [f"{name}, {kind}", *["refresh"] * (name == "cached"), *[f"{name}, new weights"] * (kind == "bi-level")]
    ms = {key: found.get(key, {}).get("ms") for key in wanted}
    if None in ms.values():
        return None
    plain = ms[f"{name}, {kind}"]
    each = plain + (ms.get(f"{name}, new weights", plain) - plain) / REFRESH + ms.get("refresh", 0.0) / INTERVAL
    return float(result["steps_per_epoch"] * each / 1e3)


def summary(results: list[Found]) -> list[str]:
    """How a bi-level step and an epoch of cached propagation grow over the sizes."""
    done = [(r, e) for r in results if (e := epoch_seconds(r, "cached", "bi-level")) is not None]
    if len(done) < 2:
        return []
    steps = [r["steps"]["cached, bi-level"]["ms"] for r, _ in done]
    (first, shortest), (last, longest) = done[0], done[-1]
    exponent = math.log(longest / shortest) / math.log(last["pairs"] / first["pairs"])
    return [
        f"- a cached bi-level step over {len(done)} sizes: {min(steps):,.0f} to {max(steps):,.0f} ms, "
        f"{max(steps) / min(steps):.2f} times",
        f"- an epoch of cached bi-level steps grows with E^{exponent:.2f}: {shortest / 60:,.1f} minutes at "
        f"{first['pairs']:,} pairs, {longest / 60:,.1f} at {last['pairs']:,} (computed, not run)",
    ]


def table(results: list[Found]) -> str:
    """All sizes as Markdown."""
    head = "N | U | E | step | full, ms | cached, ms | with new weights: full, cached | refresh, ms | full, MiB"
    lines = [f"| {head} | cached, MiB | epoch full, s | cached |", "|" + "---|" * 12]
    for result in results:
        found = result["steps"]
        for name in ("theta", "bi-level"):
            full, ours, refresh = (found.get(k, {}) for k in (f"full, {name}", f"cached, {name}", "refresh"))
            weights = [found.get(f"{which}, new weights", {}).get("ms") for which in ("full", "cached")]

            def cell(row: Found, key: str, form: str = "{:,.1f}") -> str:
                return form.format(row[key]) if key in row else f"no {row.get('skipped', 'figure')}"

            epochs = [epoch_seconds(result, which, name) for which in ("full", "cached")]
            cells = [f"{result[k]:,}" for k in ("items", "users", "pairs")] + [name]
            cells += [cell(full, "ms"), cell(ours, "ms")]
            cells += [", ".join("-" if w is None else f"{w:,.1f}" for w in weights) if name == "bi-level" else ""]
            cells += [cell(refresh, "ms"), cell(full, "peak_mib", "{:,.0f}"), cell(ours, "peak_mib", "{:,.0f}")]
            cells += ["" if e is None else f"{e:,.0f}" for e in epochs]
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
    hardware = torch.cuda.get_device_name() if meter.cuda else machine()
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
        except (torch.OutOfMemoryError, RuntimeError) as error:
            result["failed"] = str(error).splitlines()[0]
            print(f"  failed: {result['failed']}", flush=True)
        (args.output / "cached_gpu.json").write_text(json.dumps({"about": about, "results": results}, indent=1))
        parts = [f"# Full and cached propagation on one device, d = {args.width}", about, *summary(results)]
        text = "\n\n".join([*parts, table(results)]) + "\n"
        (args.output / "cached_gpu.md").write_text(text)


if __name__ == "__main__":
    main()
