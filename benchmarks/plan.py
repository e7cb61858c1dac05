"""`jobs/benchmark.py plan`: what would run, its memory and its estimated time. Nothing is allocated or started."""

from __future__ import annotations

from benchmarks.bounds import planned_memory, work_of_case
from benchmarks.cases import Case, sweeps
from benchmarks.settings import BenchmarkSettings
from bifair_dist.cost.seconds import step_seconds
from bifair_dist.hardware import Hardware
from bifair_dist.planning.fit import HEADROOM
from bifair_dist.progress import duration

DRAWN = 1.5e-6
"""Seconds to draw, sort and index a pair (measured: 30 s for 20,000,000 on a core of the project's machine)."""
START = 5.0
"""Seconds to start a group of workers (measured with launcher inline; Ray Train takes about 20)."""


def plan(settings: BenchmarkSettings, profile: Hardware) -> str:
    """A line for each case of each sweep, and the whole. Raises `UserError` as `sweeps` does."""
    wanted = sweeps(settings)
    lines = [f"plan of a benchmark on {profile.name}: {profile.source}", ""]
    head = f"{'sweep':8} {'W':>3} {'N':>11} {'U':>11} {'E':>12} {'d':>6} {'B':>7} {'G':>4} {'method':10} "
    head += f"{'a worker':>11} {'a step':>9} {'the case':>9}"
    lines.append(head)
    seen: dict[Case, float] = {}
    for name, cases in wanted.items():
        for case in cases:
            step, whole = case_seconds(settings, case, profile)
            memory = planned_memory(work_of_case(settings, case))
            room = HEADROOM * profile.memory / min(profile.sharing, case.workers)
            misfit = "" if memory <= room else f"  does not fit: {room / 2**30:.1f} GiB are there"
            lines.append(
                f"{name:8} {case.workers:3} {case.items:11,} {case.users:11,} {case.pairs:12,} {case.width:6,} "
                f"{case.batch:7,} {case.groups:4} {case.method:10} {memory / 2**30:7.2f} GiB {step:7.2f} s "
                f"{_shown(case, seen, whole):>9}{misfit}"
            )
            seen[case] = whole
    starts = len(seen) if settings.scale.fresh else len({case.workers for case in seen})
    total = sum(seen.values()) + START * starts
    lines += ["", f"{len(seen)} cases, about {duration(total)} (expect a factor of two); a case named twice runs once"]
    if settings.scale.embedded:
        lines.append(f"and the embedding of {settings.scale.embedded:,} titles: jobs/embed.py plan tells of it")
    return "\n".join(lines)


def case_seconds(settings: BenchmarkSettings, case: Case, hardware: Hardware) -> tuple[float, float]:
    """Estimated seconds of a step without new weights, and of the whole case."""
    work = work_of_case(settings, case)
    plain, weights = (sum(step_seconds(work, count, hardware).values()) for count in (max(work.refresh - 1, 0), 0))
    steps = (1 + settings.scale.steps) * (plain + weights)
    return plain, steps + DRAWN * case.pairs


def _shown(case: Case, seen: dict[Case, float], whole: float) -> str:
    return "above" if case in seen else f"{whole:.0f} s"
