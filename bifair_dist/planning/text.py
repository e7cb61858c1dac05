"""The plan of a training as text: memory, bytes, operations, time, and what to change where it does not fit."""

from __future__ import annotations

from bifair_dist.cost.cached import flops_of, refresh_traffic, traffic_of
from bifair_dist.cost.seconds import mean_step
from bifair_dist.cost.traffic import Traffic
from bifair_dist.cost.work import Sizes, Work
from bifair_dist.errors import UserError
from bifair_dist.hardware import PROFILES, Hardware
from bifair_dist.planning.fit import Need, all_parts, available, fits, heaviest, need, savings
from bifair_dist.planning.settings import TrainPlanSettings
from bifair_dist.planning.sizes import find_sizes
from bifair_dist.progress import duration
from bifair_dist.settings import override
from bifair_dist.training.phases import phases_of
from bifair_dist.training.propagation import settle_propagation
from bifair_dist.training.work import work_of

GIB = 2**30


def named(words: list[str]) -> list[str]:
    """What stands behind `plan`: a hardware's name at the head becomes its setting; it may be cut (`h100`)."""
    if not words or words[0].startswith("-"):
        return words
    meant = [name for name in PROFILES if name.startswith(words[0])]
    return ["--plan.hardware", meant[0] if len(meant) == 1 else words[0], *words[1:]]


def plan(settings: TrainPlanSettings) -> str:
    """The plan. Only manifests are read. Raises `UserError` for missing sizes and too many workers."""
    sizes = find_sizes(settings)
    chosen = [p for name, p in PROFILES.items() if settings.plan.hardware in ("all", name)]
    shown = next((p for p in chosen if p.is_gpu), chosen[0])
    settled, decided = settle_propagation(settings, sizes, shown)
    settings = override(settings, {"model.propagation": settled.model.propagation})
    workers = 1 if settings.cluster.launcher == "inline" else settings.cluster.workers
    if workers > settings.model.embedding_dim:
        raise UserError(
            f"cluster.workers: {workers} workers, but each needs a column of the model's space, which has "
            f"{settings.model.embedding_dim} (model.embedding_dim)"
        )
    name, work = heaviest(settings, sizes, workers, shown)
    return "\n".join(
        [
            f"plan for {_named_sizes(settings, sizes)}, on {workers} worker{'s' * (workers > 1)}",
            *([decided] if decided else []),
            "",
            *_memory(name, work, shown),
            "",
            *_bytes(work),
            "",
            *_time(settings, sizes, workers, chosen),
            *_fit(settings, sizes, workers, chosen),
        ]
    )


def _named_sizes(settings: TrainPlanSettings, sizes: Sizes) -> str:
    items, users, pairs = f"{sizes.items:,} items", f"{sizes.users:,} users", f"{sizes.pairs:,} pairs"
    if settings.training.id_embeddings:
        return f"id embeddings of {sizes.width:,} columns for {items} and {users}, {pairs}"
    groups = f", {sizes.groups} groups" * settings.training.balances
    return f"{items} of {sizes.width:,} columns, {users}, {pairs}{groups}"


def _memory(phase: str, work: Work, hardware: Hardware) -> list[str]:
    """Parts of the largest phase at its widest moment; with a GPU those that stay on the host are marked."""
    gpu = hardware.is_gpu
    where = "on a GPU (* on the host)" if gpu else "on the CPU"
    where += " (** on local disk, not counted)" * (work.z_at == "disk")
    lines = [f"memory of a worker {where} at the widest moment of phase {phase}"]
    for part in all_parts(work, hardware):
        mark = " **" if part.disk else " *" * (gpu and part.host)
        lines.append(f"  {part.name + mark:40} {_gib(part.n_bytes):>12}")
    return lines


def _bytes(work: Work) -> list[str]:
    """What the busiest worker sends, by collective, with and without new weights."""
    if work.workers == 1:
        return ["sent to other workers: nothing"]
    last = work.inner_steps - 1  # a step that moves Z
    with_weights = 0 if work.inner_steps == 1 else work.refresh * work.inner_steps
    steps = {"with new weights": with_weights, "without": last or 1} if work.balanced else {"each": last or 1}
    shown: dict[str, Traffic] = {}
    for title, count in steps.items():
        shown[title] = max((traffic_of(work, r, count) for r in range(work.workers)), key=lambda t: t.total)
    if work.interval:
        refreshes = (refresh_traffic(work, r, work.interval) for r in range(work.workers))
        shown[f"a refresh, in {work.interval}"] = max(refreshes, key=lambda t: t.total)
    lines = ["sent in a step by the busiest worker, MB (collectives); formulas: docs/bytes.md"]
    lines.append(f"  {'':12}" + "".join(f"{title:>24}" for title in shown))
    for tag in dict.fromkeys(tag for t in shown.values() for tag in t.sent if any(s.sent[tag] for s in shown.values())):
        cells = (f"{t.sent[tag] / 1e6:,.1f} ({t.calls[tag]})" for t in shown.values())
        lines.append(f"  {tag:12}" + "".join(f"{cell:>24}" for cell in cells))
    cells = (f"{t.total / 1e6:,.1f} ({sum(t.calls.values())})" for t in shown.values())
    return [*lines, f"  {'total':12}" + "".join(f"{cell:>24}" for cell in cells)]


def _time(settings: TrainPlanSettings, sizes: Sizes, workers: int, chosen: list[Hardware]) -> list[str]:
    """Operations and estimated time of every phase."""
    lines = ["estimated time (expect a factor of two); operations are those of all workers"]
    for phase in phases_of(settings):
        work = work_of(settings, sizes, phase, workers)
        cycle = work.refresh * work.inner_steps
        flops = sum(flops_of(work, count) for count in range(cycle)) / cycle
        lines.append(
            f"  phase {phase.name}: {_short(flops)} operations a step, {_short(flops * work.steps)} an epoch of "
            f"{work.steps:,} steps, at most {phase.epochs} epochs"
            + f"; a refresh every {work.interval} steps is in it"
            * (work.interval > 0)
        )
        for hardware in chosen:
            seconds = mean_step(work, hardware, settings.plan.network * 1e9)
            whole = sum(seconds.values())
            largest = sorted(seconds.items(), key=lambda named: -named[1])[:4]
            shares = ", ".join(f"{part} {value / whole:.0%}" for part, value in largest)
            each, epoch = _seconds(whole), duration(whole * work.steps)
            lines.append(f"    {hardware.name:10}  {each:>8} a step  {epoch:>12} an epoch   {shares}")
    return lines


def _fit(settings: TrainPlanSettings, sizes: Sizes, workers: int, chosen: list[Hardware]) -> list[str]:
    """One line for each profile, and savings below those that are too small."""
    lines = ["", "does it fit (90 % of the memory may be used)"]
    for hardware in chosen:
        _, work = heaviest(settings, sizes, workers, hardware)
        wanted, has = need(work, hardware), available(hardware, workers)
        good = fits(wanted, hardware, workers)
        lines.append(
            f"  {hardware.name:10}  {'fits' if good else 'does not fit'}: {_shown(wanted, hardware)} of {_gib(has)}"
        )
        if good:
            continue
        found = savings(settings, sizes, workers, hardware)
        for saving in found:
            enough = "fits" if saving.fits else "not enough by itself"
            lines.append(f"      {saving.words}: {_shown(saving.need, hardware)}, {enough}")
        if not any(saving.fits for saving in found):
            lines.append("      nothing listed is enough: fewer items, narrower vectors, or devices with more memory")
    return lines


def _shown(wanted: Need, hardware: Hardware) -> str:
    if not hardware.is_gpu:
        return _gib(wanted.host)
    return f"{_gib(wanted.device)} (and {_gib(wanted.host)} on the host)"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / GIB:,.2f} GiB" if n_bytes >= 0.1 * GIB else f"{n_bytes / 2**20:,.2f} MiB"


def _short(number: float) -> str:
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f}"


def _seconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
