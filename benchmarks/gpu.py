"""The core's step and full ranking on one device: milliseconds, memory, accuracy, users a second.

    python -m benchmarks.gpu --output FOLDER                                           on a GPU, 150 s at most
    python -m benchmarks.gpu --output FOLDER --device cpu --sizes tiny                 here, seconds

Needs torch only (no Ray, pyarrow, MLflow). FOLDER/gpu.json and gpu.md are written anew after each catalogue, so that a
run that is killed leaves what it had. Milliseconds are medians over steps on batches drawn before, with the device
waited for at both ends; "draw" is what drawing a batch and moving it to the device takes. Peaks are the allocator's.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from benchmarks.alpharec_reference import Reference, published_hidden
from benchmarks.core import EPS, NEGATIVES, OUTPUT, SIZES, XI, Problem
from benchmarks.meter import Found, Meter
from bifair_dist.bilevel.accuracy import Point, accuracy, closeness, reference
from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.commit import commit
from bifair_dist.evaluation import scan
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.evaluation.topk import topk
from bifair_dist.model.projector import init_theta

PLAIN, RANKED, K = 1, 16_384, 20
"""Number of a step without new weights; users ranked; length of their lists."""
TILES = tuple((1 << items, 1 << scores) for items in (14, 16, 18, 20) for scores in (24, 26, 28))
"""(items, scores) of a tile that are tried in ranking."""
ACCURATE = 10**8
"""Most numbers of Z for which the float64 reference is computed."""


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products may be rounded to TF32, until the end of the block."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def steps(meter: Meter, problem: Problem, found: Found) -> None:
    """Every kind of step, the parts that can be run alone, and the published AlphaRec step."""
    drawn = iter(range(10**6))
    meter.measure("draw", found, lambda: lambda: problem.sampler.batch(0, next(drawn)).to(problem.device))
    batches = [problem.sampler.batch(0, n).to(problem.device) for n in range(min(8, problem.sampler.steps_per_epoch))]

    def turns(step: BilevelStep) -> Callable[[], object]:
        turn = iter(range(10**6))

        def once() -> object:
            batch = batches[next(turn) % len(batches)]
            return step(PLAIN, batch, lambda: batch)

        return once

    low = torch.bfloat16
    meter.measure("AlphaRec", found, lambda: turns(problem.step(bilevel=False)))
    meter.measure("AlphaRec, bf16", found, lambda: turns(problem.step(bilevel=False, low=low)))
    meter.measure("bi-level", found, lambda: turns(problem.step()))
    with tf32(True):
        meter.measure("bi-level, TF32", found, lambda: turns(problem.step()))
    meter.measure("bi-level, bf16", found, lambda: turns(problem.step(low=low)))
    meter.measure("bi-level, exact", found, lambda: turns(problem.step("exact")))

    def refresh() -> Callable[[], object]:
        step = problem.step()
        return lambda: step.refresh_weights(batches[0], StepRecord(torch.zeros(())))

    def adam() -> Callable[[], object]:
        step = problem.step()
        step.z.grad = torch.ones_like(step.z)
        assert step.z_optimizer is not None
        return step.z_optimizer.step

    def published(hidden: int) -> Callable[[], object]:
        size, pairs = problem.size, problem.pairs
        step = problem.step(bilevel=False)
        theta = init_theta(size.width, hidden, OUTPUT, "mlp", 0)
        theirs = Reference(
            pairs.user, pairs.item, size.users, step.z.detach(), theta, batch=batches[0].size, negatives=NEGATIVES
        )
        draw = theirs.draw()
        return lambda: theirs.step(draw)

    meter.measure("new weights", found, refresh)
    meter.measure("Adam of Z", found, adam)
    for hidden in dict.fromkeys((published_hidden(problem.size.width), problem.size.hidden)):
        meter.measure(f"published AlphaRec, h {hidden:,}", found, partial(published, hidden))


def closeness_of(problem: Problem) -> Found:
    """Errors of the finite difference and of the number formats, against the exact hypergradient in float64."""
    batch = problem.sampler.batch(0, 0).to(problem.device)

    def point(dtype: torch.dtype) -> Point:
        step = problem.step(dtype=dtype)
        loss = step.loss(step.model, batch, step.coefficients(batch))
        return Point(loss, loss, {name: t.detach() for name, t in step.theta.items()}, step.z.detach())

    exact = reference(point(torch.float64), xi=XI)
    row = accuracy(point(torch.float32), exact, (EPS,))[0]
    found: Found = {"share": exact.share, "second_error": row.second.error, "second_cosine": row.second.cosine}
    for name, method, low, rounded in (
        ("finite difference", "finite_difference", None, False),
        ("exact", "exact", None, False),
        ("finite difference, TF32", "finite_difference", None, True),
        ("finite difference, bf16", "finite_difference", torch.bfloat16, False),
    ):
        with tf32(rounded):
            g_z = problem.step(method, low=low)(PLAIN, batch, lambda: batch).g_z  # type: ignore[arg-type]
        assert g_z is not None
        found[f"g_Z, {name}"] = closeness(g_z, exact.g_z).error
    print(f"  {found}", flush=True)
    return found


def ranking(meter: Meter, problem: Problem, found: Found) -> None:
    """Users a second for several tiles, and with whole rows of scores and one top-k over them."""
    size, device = problem.size, problem.device
    with torch.no_grad():
        step = problem.step(bilevel=False)
        user_rows, item_rows = step.model.ranking_rows(step.theta, step.z)
        known, users = problem.known.to(device), torch.arange(min(RANKED, size.users), device=device)

        def ranked(block: int) -> Callable[[], object]:
            return lambda: full_ranking(
                user_rows,
                item_rows,
                n_users=size.users,
                n_items=size.items,
                known=known,
                users=users,
                k=K,
                comm=problem.comm,
                block=block,
            )

        def whole_rows(block: int) -> Callable[[], object]:
            def once() -> None:
                for some in users.split(block):
                    scores = user_rows[some] @ item_rows.T
                    scores[known.expand(some)] = -torch.inf
                    topk(scores, K)

            return once

        for items, scores in TILES if meter.cuda else ((scan.ITEMS, scan.TILE),):
            if scores >= items and not (items > 4 * size.items and items > 1 << 14):
                with mock.patch.multiple(scan, GPU_ITEMS=items, GPU_TILE=scores):
                    meter.measure(f"tile {items:,} x {scores // items:,}", found, lambda: ranked(4096), 0.5)
        meter.measure("block 16,384", found, lambda: ranked(16_384), 0.5)
        for block in (256, 1024, 4096):
            meter.measure(f"whole rows, {block:,} users", found, partial(whole_rows, block), 0.5)
    for row in found.values():
        if "ms" in row:
            row["users_per_second"] = len(users) / row["ms"] * 1e3


def profile(problem: Problem, path: Path) -> Found:
    """Where one bi-level step's time goes; the whole table into `path`."""
    from torch.profiler import ProfilerActivity, record_function

    batch, step = problem.sampler.batch(0, 0).to(problem.device), problem.step()
    step(PLAIN, batch, lambda: batch)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as run:
        for _ in range(3):
            with record_function("whole step"):
                step(PLAIN, batch, lambda: batch)
                torch.cuda.synchronize()
    events = run.key_averages()
    path.write_text(
        events.table(sort_by="self_device_time_total", row_limit=25)
        + events.table(sort_by="self_cpu_time_total", row_limit=25)
    )
    on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA and e.key != "whole step"]
    kernels = sum(e.self_device_time_total for e in on_device) / 3e3
    launches = sum(e.count for e in events if e.key == "cudaLaunchKernel") / 3
    return {"kernels_ms": kernels, "launches": launches}


def table(results: list[Found]) -> str:
    """All figures as Markdown."""
    lines = list[str]()
    for result in results:
        ours = result["steps"].get("bi-level", {}).get("ms")
        theirs = next((v.get("ms") for k, v in result["steps"].items() if k.startswith("published")), None)
        lines += [f"## {result['name']}: {result['size']}", "", "| | ms | peak, MiB | times the published step |"]
        lines.append("|---|---|---|---|")
        for name, row in result["steps"].items():
            if "ms" not in row:
                lines.append(f"| {name} | no {row['skipped']} | | |")
                continue
            times = f"{row['ms'] / theirs:.3f}" if theirs else ""
            lines.append(f"| {name} | {row['ms']:.2f} | {row.get('peak_mib', 0):,.0f} | {times} |")
        if profiled := result.get("profile"):
            share = f", of {ours:.2f} ms" if ours else ""
            lines += ["", f"Kernels of a bi-level step: {profiled['kernels_ms']:.2f} ms{share}."]
        if close := result.get("closeness"):
            lines += ["", "Against the exact hypergradient in float64:", "", "| | |", "|---|---|"]
            lines += [f"| {name} | {value:.2e} |" for name, value in close.items()]
        lines += ["", "| ranking | users a second | peak, MiB |", "|---|---|---|"]
        for name, row in result["ranking"].items():
            if "ms" in row:
                lines.append(f"| {name} | {row['users_per_second']:,.0f} | {row.get('peak_mib', 0):,.0f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=[name for name in SIZES if name != "tiny"])
    parser.add_argument("--rounds", type=int, default=9, help="of a measurement at most")
    parser.add_argument("--seconds", type=float, default=140.0, help="what starts later than this is left out")
    args = parser.parse_args()
    device = torch.device(args.device)
    meter = Meter(device, args.seconds, args.rounds)
    args.output.mkdir(parents=True, exist_ok=True)
    hardware = torch.cuda.get_device_name() if meter.cuda else platform.processor()
    about = f"commit {commit()}; {hardware}; Python {platform.python_version()}, torch {torch.__version__}"
    print(about, flush=True)
    results = list[Found]()
    for name in args.sizes:
        print(f"{name}: {SIZES[name]}, {meter.left():.0f} s left", flush=True)
        result: Found = {"name": name, "size": str(SIZES[name]), "steps": {}, "ranking": {}}
        results.append(result)
        try:
            start = time.perf_counter()
            problem = Problem.generate(SIZES[name], device)
            meter.wait()
            result["generate_seconds"] = time.perf_counter() - start
            print(f"  generated in {result['generate_seconds']:.1f} s", flush=True)
            steps(meter, problem, result["steps"])
            ranking(meter, problem, result["ranking"])
            if SIZES[name].items * SIZES[name].width < ACCURATE and meter.left() > 10:
                result["closeness"] = closeness_of(problem)
            if meter.cuda and meter.left() > 15:
                result["profile"] = profile(problem, args.output / f"profile-{name}.txt")
        except (torch.OutOfMemoryError, RuntimeError) as error:
            result["failed"] = str(error).splitlines()[0]
            print(f"  failed: {result['failed']}", flush=True)
        problem = None  # type: ignore[assignment]
        (args.output / "gpu.json").write_text(json.dumps({"about": about, "results": results}, indent=1))
        (args.output / "gpu.md").write_text(f"# The core on one device\n\n{about}\n\n{table(results)}")


if __name__ == "__main__":
    main()
