"""One case on this worker, together with the others: set-up, steps, full ranking."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from bifair_dist.benchmark.bounds import bounds, work_of_case
from bifair_dist.benchmark.cases import Case, settings_of
from bifair_dist.benchmark.catalogue import synthetic_pairs
from bifair_dist.benchmark.clock import OTHER, Clock
from bifair_dist.benchmark.compared import epoch_seconds
from bifair_dist.benchmark.problem import make_problem, make_step, random_rows
from bifair_dist.benchmark.process_memory import memory, reset_peak
from bifair_dist.benchmark.settings import BenchmarkSettings
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.csr import Csr
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.planning.hardware import Hardware, of_device
from bifair_dist.planning.seconds import step_seconds
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
    settings = settings_of(settings, case)
    wait = waiting(device)
    gc.collect()
    _reset(device)
    start = time.perf_counter()
    pairs = synthetic_pairs(case.users, case.items, case.pairs, settings.training.seed, case.groups)
    generated = time.perf_counter() - start
    problem = make_problem(pairs, settings, comm, device)
    step, sampler = make_step(problem, random_rows(problem, case.items, case.width), inner_group)
    wait()
    found: Result = {"generate_seconds": generated, "set_up_seconds": time.perf_counter() - start - generated}
    kinds = _kinds(settings, step)
    found |= _steps(settings, step, sampler, comm, device, wait)
    found["planned_seconds"] = _planned(settings, case, next(iter(kinds.values())), device)
    found["peak_bytes"] = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory("VmHWM")
    known = Csr.of(pairs.user, pairs.item, case.users)
    found["ranked_users_per_second"] = _ranking(settings, problem, step, case, known, comm, wait)
    found |= bounds(settings, case, kinds, rates)
    result = {"case": asdict(case), **_over_workers(found, comm.gather_objects(found))}
    return {**result, "epoch_seconds": epoch_seconds(result, settings.balance.refresh)}


def _steps(
    settings: BenchmarkSettings,
    step: BilevelStep,
    sampler: BatchSampler,
    comm: Comm,
    device: torch.device,
    wait: Callable[[], None],
) -> Result:
    """Steps with and without new weights by turns: each kind once to warm up, then `scale.steps` times."""
    kinds = _kinds(settings, step)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    parts: dict[str, list[dict[tuple[str, str], float]]] = {kind: [] for kind in kinds}
    found: Result = {}
    for turn in range(1 + settings.scale.steps):
        for number, (kind, count) in enumerate(kinds.items()):
            comm.gather_objects(None)  # all start together
            comm.sent.clear()
            comm.calls.clear()
            clock = Clock(wait)
            with clock.watching(step):
                once = clock.timed(_one)
                begin = time.perf_counter()
                once(step, sampler, count, turn * len(kinds) + number, device)
                spent = time.perf_counter() - begin
            if turn:
                seconds[kind].append(spent)
                parts[kind].append(clock.seconds)
            found[f"{kind}_sent"], found[f"{kind}_calls"] = dict(comm.sent), dict(comm.calls)
    for kind in kinds:
        found[f"{kind}_seconds"] = statistics.median(seconds[kind])
        keys = dict.fromkeys(key for one in parts[kind] for key in one)
        found[f"{kind}_parts"] = [[*key, statistics.median(one.get(key, 0.0) for one in parts[kind])] for key in keys]
    return found


def _kinds(settings: BenchmarkSettings, step: BilevelStep) -> dict[str, int]:
    """A step number of each kind; Z moves in both where there is such a number."""
    cycle = range(settings.balance.refresh * step.inner_steps)

    def due(count: int) -> bool:
        return step.balance is not None and step.balance.due(count)

    def moves(count: int) -> bool:
        return (count + 1) % step.inner_steps == 0

    plain = [count for count in cycle if not due(count)]
    weights = [count for count in cycle if due(count)]
    kinds = {"plain": plain, "new_weights": weights}
    return {kind: max(counts, key=moves) for kind, counts in kinds.items() if counts}


def _planned(settings: BenchmarkSettings, case: Case, count: int, device: torch.device) -> float | None:
    """What `jobs/train.py --plan` estimates for step `count`; None on hardware without a profile."""
    hardware = of_device(torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")
    return None if hardware is None else sum(step_seconds(work_of_case(settings, case), count, hardware).values())


def _one(step: BilevelStep, sampler: BatchSampler, count: int, number: int, device: torch.device) -> None:
    batch = sampler.batch(0, number).to(device)
    float(step(count, batch, lambda: batch).loss)


def _ranking(
    settings: BenchmarkSettings,
    problem: Problem,
    step: BilevelStep,
    case: Case,
    known: Csr,
    comm: Comm,
    wait: Callable[[], None],
) -> float:
    """Users a second whose top k of the whole catalogue is found, propagation left out."""
    model = problem.ranking_model
    assert isinstance(model, AlphaRec)
    with torch.no_grad():
        user_rows, item_rows = model.node_rows(step.theta, step.z.detach())
        users = torch.arange(0, case.users, max(case.users // settings.scale.ranked, 1))[: settings.scale.ranked]
        wait()
        comm.gather_objects(None)
        begin = time.perf_counter()
        full_ranking(
            F.normalize(user_rows, dim=1), F.normalize(item_rows, dim=1), n_users=case.users, n_items=case.items,
            known=known, users=users, k=settings.training.k, comm=comm,
        )  # fmt: skip
        wait()
        return len(users) / (time.perf_counter() - begin)


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak()


def _over_workers(mine: Result, every: list[Result]) -> Result:
    """Seconds and bytes of the worst worker, parts of the first, users a second of the slowest."""
    found: Result = {}
    for key, value in mine.items():
        values = [one[key] for one in every]
        if key.endswith("per_second"):
            found[key] = min(values)
        elif key.endswith(("_seconds", "_bytes")) and value is not None:
            found[key] = max(values)
        elif key.endswith(("_sent", "_calls")):
            found[key] = {tag: max(one.get(tag, 0) for one in values) for tag in value}
        else:
            found[key] = every[0][key]
    return found


def by(parts: list[list[Any]], axis: int) -> dict[str, float]:
    """Seconds summed over one axis of (pass, operation): 0 keeps passes, 1 keeps operations."""
    found: dict[str, float] = {}
    for row in parts:
        found[row[axis]] = found.get(row[axis], 0.0) + row[2]
    return dict(sorted(found.items(), key=lambda named: (named[0] == OTHER, -named[1])))
