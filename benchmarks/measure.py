"""One case on this worker, together with the others: set-up, steps, full ranking."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.bounds import bounds, work_of_case
from benchmarks.cases import Case, settings_of
from benchmarks.catalogue import synthetic_pairs
from benchmarks.parts import shares
from benchmarks.problem import make_problem, make_step, random_rows
from benchmarks.record import memory, reset_peak
from benchmarks.settings import BenchmarkSettings
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.cost.seconds import step_seconds
from bifair_dist.csr import Csr
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.hardware import Hardware, of_device
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.training.problem import Problem

Result = dict[str, Any]


def waiting(device: torch.device) -> Callable[[], None]:
    """What ends when the device has done all that it was given."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def measure(
    settings: BenchmarkSettings,
    case: Case,
    comm: Comm,
    inner_group: dist.ProcessGroup | None,
    device: torch.device,
    rates: Hardware,
) -> Result:
    """Figures of one case: of the slowest worker where they are seconds, of the largest where they are bytes."""
    settings, wait, on_gpu = settings_of(settings, case), waiting(device), device.type == "cuda"
    start = time.perf_counter()
    pairs = synthetic_pairs(case.users, case.items, case.pairs, settings.training.seed, case.groups)
    generated = time.perf_counter() - start
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device) if on_gpu else reset_peak()
    problem = make_problem(pairs, settings, comm, device)
    step, sampler = make_step(problem, random_rows(problem, case.items, case.width), inner_group)
    wait()
    found: Result = {"generate_seconds": generated, "set_up_seconds": time.perf_counter() - start - generated}
    kinds = _kinds(settings, step)
    if isinstance(step, CachedStep):
        found["refresh_seconds"] = _refresh_seconds(step, comm, wait)
    found |= _steps(kinds, settings.scale.steps, step, sampler, comm, device)
    hardware = of_device(torch.cuda.get_device_name(device) if on_gpu else "cpu")
    if hardware is not None:  # what `jobs/train.py plan` estimates
        seconds = step_seconds(work_of_case(settings, case), next(iter(kinds.values())), hardware)
        found["planned_seconds"] = sum(seconds.values())
    found["peak_bytes"] = torch.cuda.max_memory_allocated(device) if on_gpu else memory("VmHWM")
    known = Csr.of(pairs.user, pairs.item, case.users)
    found["ranked_users_per_second"] = _ranked_a_second(settings, problem, step, case, known)
    found |= bounds(settings, case, kinds, rates)
    result = {"case": asdict(case), **_over_workers(found, comm.gather_objects(found))}
    return {**result, "epoch_seconds": _epoch_seconds(result, settings)}


def _steps(
    kinds: dict[str, int],
    rounds: int,
    step: BilevelStep,
    sampler: BatchSampler,
    comm: Comm,
    device: torch.device,
) -> Result:
    """Steps of the kinds by turns: each once to warm up, `rounds` times timed, once in the profiler."""
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    found: Result = {}
    for turn in range(rounds + 2):
        for number, (kind, count) in enumerate(kinds.items()):
            comm.gather_objects(None)  # all start together
            comm.sent.clear()
            comm.calls.clear()
            once = partial(_one, step, sampler, count, turn * len(kinds) + number, device)
            if turn <= rounds:
                start = time.perf_counter()
                once()
                seconds[kind] += [time.perf_counter() - start] * (turn > 0)
                found[f"{kind}_sent"], found[f"{kind}_calls"] = dict(comm.sent), dict(comm.calls)
                continue
            found[f"{kind}_seconds"] = middle = statistics.median(seconds[kind])
            found[f"{kind}_parts"] = [[*key, share * middle] for key, share in shares(once, device).items()]
    return found


def _kinds(settings: BenchmarkSettings, step: BilevelStep) -> dict[str, int]:
    """A step number of each kind; Z moves in both where there is such a number."""
    found: dict[str, int] = {}
    for kind, wanted in (("plain", False), ("new_weights", True)):
        counts = [
            count
            for count in range(2 * settings.balance.refresh * step.inner_steps)
            if not (isinstance(step, CachedStep) and count % step.interval == 0)  # those are timed by themselves
            and (step.balance is not None and step.balance.due(count)) == wanted
        ]
        if counts:
            found[kind] = max(counts, key=lambda count: (count + 1) % step.inner_steps == 0)
    return found


def _refresh_seconds(step: CachedStep, comm: Comm, wait: Callable[[], None]) -> float:
    """Of the second refresh, after which the cache holds all that it ever does."""
    seconds = 0.0
    for _ in range(2):
        comm.gather_objects(None)
        start = time.perf_counter()
        step.cached.refresh(step.theta, step.z, pool=step.z_optimizer is not None)
        wait()
        seconds = time.perf_counter() - start
    return seconds


def _one(step: BilevelStep, sampler: BatchSampler, count: int, number: int, device: torch.device) -> None:
    batch = sampler.batch(0, number).to(device)
    float(step(count, batch, lambda: batch).loss)
    waiting(device)()


def _ranked_a_second(settings: BenchmarkSettings, problem: Problem, step: BilevelStep, case: Case, known: Csr) -> float:
    """Users a second whose top k of the whole catalogue is found, propagation left out."""
    with torch.no_grad():
        user_rows, item_rows = problem.ranking_model.ranking_rows(step.theta, step.z.detach())
        users = torch.arange(0, case.users, max(case.users // settings.scale.ranked, 1))[: settings.scale.ranked]
        waiting(problem.device)()
        problem.comm.gather_objects(None)
        start = time.perf_counter()
        full_ranking(
            user_rows,
            item_rows,
            n_users=case.users,
            n_items=case.items,
            known=known,
            users=users,
            k=settings.training.k,
            comm=problem.comm,
        )
        waiting(problem.device)()
        return len(users) / (time.perf_counter() - start)


def _over_workers(mine: Result, every: list[Result]) -> Result:
    """Seconds and bytes of the worst worker, users a second of the slowest, all else of the first."""
    found: Result = {}
    for key, value in mine.items():
        values = [one[key] for one in every]
        if key.endswith("per_second"):
            found[key] = min(values)
        elif key.endswith(("_seconds", "_bytes")):
            found[key] = max(values)
        elif key.endswith(("_sent", "_calls")):
            found[key] = {tag: max(one.get(tag, 0) for one in values) for tag in value}
        else:
            found[key] = values[0]
    return found


def _epoch_seconds(result: Result, settings: BenchmarkSettings) -> float:
    """ceil(E / B) times the mean of `refresh` steps, one of them with new weights; validation is not in it.

    With cached propagation a refresh comes on top, once in its interval.
    """
    both = [result.get(f"{kind}_seconds") for kind in ("plain", "new_weights")]
    plain, weights = (next(s for s in order if s is not None) for order in (both, both[::-1]))
    steps = -(-result["case"]["pairs"] // result["case"]["batch"])
    each = plain + (weights - plain) / settings.balance.refresh
    return float(steps * (each + result.get("refresh_seconds", 0.0) / settings.cached.interval))
