"""The least that a case can take on the rates of its run: operations over the matrix rate, bytes over the bandwidth.

operation            sum over its passes of max(operations / matrix rate, bytes / bandwidth)
exchange             bytes / link + collectives x latency
users ranked         W x matrix rate / (2 N k) a second
memory               the plan's parts (an estimate, not a bound)
cached propagation   parts of the step as planned, and at most the bytes: a batch may name a node twice
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.cases import Case, settings_of
from benchmarks.settings import BenchmarkSettings
from bifair_dist.cost import cached
from bifair_dist.cost.operations import Operations, optimiser_bytes, pass_operations
from bifair_dist.cost.passes import Pass, passes
from bifair_dist.cost.work import Sizes, Work
from bifair_dist.hardware import Hardware
from bifair_dist.planning.memory import BASE, parts, total
from bifair_dist.training.phases import phases_of
from bifair_dist.training.work import work_of

AS = {"pooling": "propagation"}
"""Parts of the plan under the name that the clock has for them."""


def work_of_case(settings: BenchmarkSettings, case: Case) -> Work:
    """The step that the case measures."""
    settings = settings_of(settings, case)
    sizes = Sizes(items=case.items, users=case.users, pairs=case.pairs, width=case.width, groups=case.groups)
    return work_of(settings, sizes, phases_of(settings)[-1], case.workers)


def step_bound(work: Work, count: int, rates: Hardware) -> dict[str, float]:
    """Seconds by operation of step `count`, as `clock.OPERATIONS` names them, and the optimiser's."""
    seconds: dict[str, float] = {}
    if work.interval:  # its parts are not measured by pass
        seconds = _seconds(cached.step_operations(work, count), rates)
    for event in passes(work, count) if not work.interval else ():
        if isinstance(event, Pass):
            for part, value in _seconds(pass_operations(work, event), rates).items():
                name = AS.get(part, part) if event.forward else "backward"
                seconds[name] = seconds.get(name, 0.0) + value
    if not work.interval:
        seconds["optimiser"] = optimiser_bytes(work, count) / rates.bandwidth
    traffic = cached.traffic_of(work, 0, count)
    if traffic.total:
        seconds["exchange"] = traffic.total / rates.link + sum(traffic.calls.values()) * rates.latency
    return seconds


def bounds(settings: BenchmarkSettings, case: Case, kinds: dict[str, int], rates: Hardware) -> dict[str, Any]:
    """Bounds of all that is measured of a case; `kinds`: a step number of each kind of step."""
    work = work_of_case(settings, case)
    found: dict[str, Any] = {
        "rates": {
            key: value for key, value in asdict(rates).items() if key in ("flops", "bandwidth", "link", "latency")
        }
    }
    for kind, count in kinds.items():
        found[f"{kind}_bound"] = step_bound(work, count, rates)
        ranks = [cached.traffic_of(work, rank, count).sent for rank in range(work.workers)]
        found[f"{kind}_formula"] = {tag: max(sent[tag] for sent in ranks) for tag in ranks[0]}
    found["ranked_bound"] = rates.flops * case.workers / (2 * case.items * work.k)
    found["memory_plan"] = planned_memory(work)
    return found


def planned_memory(work: Work) -> int:
    """Bytes of a worker on the CPU; a benchmark's workers hold no ids and titles."""
    return total(parts(work, keeps=True)) + BASE


def _seconds(done: Operations, rates: Hardware) -> dict[str, float]:
    return {
        part: max(done.flops[part] / rates.flops, done.bytes[part] / rates.bandwidth)
        for part in dict.fromkeys([*done.flops, *done.bytes])
    }
