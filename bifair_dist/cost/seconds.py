"""Seconds of a step on a profile: each part at the pace of what bounds it, one after another.

    part       max(operations / (peak x share), bytes / (bandwidth x share))
    network    bytes / link + collectives x latency
    host       with offloaded moments: Z and its gradient to the host and Z back
    rows of Z  where Z is in host memory or on disk: the rows that a step takes and writes, and all of Z at a refresh
    launches   what a GPU waits for where the host takes longer to start a pass than the GPU to make it
    refresh    with cached propagation, a step's share of it

Nothing overlaps in the step as it is written, so the parts add up. Shares of the peaks are assumptions on GPUs.
"""

from __future__ import annotations

from bifair_dist.cost import cached
from bifair_dist.cost.operations import Operations, step_operations
from bifair_dist.cost.passes import Pass, passes
from bifair_dist.cost.traffic import Traffic
from bifair_dist.cost.work import Work, ceil_div
from bifair_dist.hardware import Hardware


def step_seconds(work: Work, count: int, hardware: Hardware, network: float = 0.0) -> dict[str, float]:
    """Seconds by part of step `count`; `network` (bytes a second) in place of the profile's link, 0: that link."""
    operations = cached.step_operations if work.interval else step_operations
    seconds = _parts(operations(work, count), hardware, work)
    busy, started = sum(seconds.values()), sum(isinstance(event, Pass) for event in passes(work, count))
    if busy < started * hardware.launch:
        seconds["launches"] = started * hardware.launch - busy
    traffic = cached.traffic_of(work, 0, count)
    if traffic.total:
        seconds["network"] = _network(traffic, hardware, network)
    if work.offload and work.train_z and hardware.is_gpu and (count + 1) % work.inner_steps == 0:
        seconds["to the host and back"] = 3 * work.element * work.m * work.d / hardware.host_link
    if (pace := _pace_of_z(work, hardware)) and work.interval:
        matrices = 6 if work.train_z and (count + 1) % work.inner_steps == 0 else 1  # Z and two moments, there and back
        seconds["rows of Z, moved"] = matrices * work.element * cached.rows_of_z(work, count) * work.d / pace
    return seconds


def _pace_of_z(work: Work, hardware: Hardware) -> float:
    """Bytes a second between where Z is and where the worker computes; 0 where that is one place."""
    return {"cpu": hardware.host_link, "disk": hardware.disk}.get(work.z_at, 0.0)


def refresh_seconds(work: Work, hardware: Hardware, network: float = 0.0) -> float:
    """Seconds of a refresh of cached propagation."""
    parts = _parts(cached.refresh_operations(work, 1), hardware, work)
    seconds = sum(parts.values()) + _network(cached.refresh_traffic(work, 0, 1), hardware, network)
    if pace := _pace_of_z(work, hardware):
        # Projected once; pooled by columns, for which a file is read as a whole each time.
        blocks = ceil_div(work.d, cached.COLUMNS) if work.z_at == "disk" else 1
        times = 1 + blocks * cached.pools(work, 1)
        seconds += times * work.element * work.m * work.d / pace
    return seconds


def mean_step(work: Work, hardware: Hardware, network: float = 0.0) -> dict[str, float]:
    """`step_seconds`, averaged over steps with and without new weights, with and without one of Z, and a refresh."""
    cycle = work.refresh * work.inner_steps
    seconds: dict[str, float] = {}
    for count in range(cycle):
        for part, value in step_seconds(work, count, hardware, network).items():
            seconds[part] = seconds.get(part, 0.0) + value / cycle
    if work.interval:
        seconds["refresh"] = refresh_seconds(work, hardware, network) / work.interval
    return seconds


def _parts(done: Operations, hardware: Hardware, work: Work) -> dict[str, float]:
    flops = hardware.flops * hardware.dense * 4 / work.element  # float64 at half the pace
    bandwidth = hardware.bandwidth * hardware.streaming
    named = dict.fromkeys([*done.flops, *done.bytes])
    return {part: max(done.flops[part] / flops, done.bytes[part] / bandwidth) for part in named}


def _network(traffic: Traffic, hardware: Hardware, network: float) -> float:
    return traffic.total / (network or hardware.link) + sum(traffic.calls.values()) * hardware.latency
