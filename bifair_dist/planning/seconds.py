"""Seconds of a step on a profile: each part at the pace of what bounds it, one after another.

    part       max(operations / (peak x share), bytes / (bandwidth x share))
    network    bytes / link + collectives x latency
    host       with offloaded moments: Z and its gradient to the host and Z back

Nothing overlaps in the step as it is written, so the parts add up. Shares of the peaks are assumptions on GPUs.
"""

from __future__ import annotations

from bifair_dist.hardware import Hardware
from bifair_dist.planning.operations import step_operations
from bifair_dist.planning.traffic import step_traffic
from bifair_dist.planning.work import Work


def step_seconds(work: Work, count: int, hardware: Hardware, network: float = 0.0) -> dict[str, float]:
    """Seconds by part of step `count`; `network` (bytes a second) in place of the profile's link, 0: that link."""
    flops = hardware.flops * hardware.dense * 4 / work.element  # float64 at half the pace
    bandwidth = hardware.bandwidth * hardware.streaming
    done = step_operations(work, count)
    seconds: dict[str, float] = {}
    for part in dict.fromkeys([*done.flops, *done.bytes]):
        seconds[part] = max(done.flops[part] / flops, done.bytes[part] / bandwidth)
    traffic = step_traffic(work, 0, count)
    if traffic.total:
        seconds["network"] = traffic.total / (network or hardware.link) + sum(traffic.calls.values()) * hardware.latency
    if work.offload and work.train_z and hardware.is_gpu and (count + 1) % work.inner_steps == 0:
        seconds["to the host and back"] = 3 * work.element * work.m * work.d / hardware.host_link
    return seconds


def mean_step(work: Work, hardware: Hardware, network: float = 0.0) -> dict[str, float]:
    """`step_seconds`, averaged over steps with and without new weights, and with and without one of Z."""
    cycle = work.refresh * work.inner_steps
    seconds: dict[str, float] = {}
    for count in range(cycle):
        for part, value in step_seconds(work, count, hardware, network).items():
            seconds[part] = seconds.get(part, 0.0) + value / cycle
    return seconds
