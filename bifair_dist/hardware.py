"""Hardware that plans are made for. Sources and what was measured: docs/planning.md."""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What one worker has, in bytes, operations and seconds.

    `memory`: of a GPU, or of a machine that `sharing` workers share. `flops`: peak float32 operations a second (true
    float32: TF32 is off in the step), `flops16`: with numbers of 16 bit. `bandwidth`: of its memory. `link`: what
    a worker sends to the others of its machine a second. `latency` of a collective. `host_link`: between GPU and host
    one way, 0 where there is no GPU. `dense`, `streaming`: shares of `flops` and `bandwidth` that are reached.
    `disk`: what a local disk gives a second.
    `launch`: seconds that the host takes to start the kernels of one pass, forward or back (0: nothing is waited for).
    `source`: where the figures are from.
    """

    name: str
    memory: float
    sharing: int
    flops: float
    flops16: float
    bandwidth: float
    link: float
    latency: float
    host_link: float
    dense: float
    streaming: float
    source: str
    launch: float = 0.0
    disk: float = 2e9  # assumed: an NVMe disk

    @property
    def is_gpu(self) -> bool:
        """Whether a worker has a GPU of its own."""
        return self.host_link > 0


def of_device(name: str) -> Hardware | None:
    """The profile of a GPU by the name it gives itself, or of "cpu"; None where there is none."""
    return next((p for key, p in PROFILES.items() if key.split("-")[0] in name.lower()), None)


NVIDIA = "NVIDIA's data sheet, SXM module; shares of the peaks are assumed"
LAUNCH = 5e-3
"""Measured: 3 to 4 ms on an H200's host (benchmarks/results/gpu.md), 4.5 to 6 on an H100's (cached_gpu.md)."""
PROFILES = {
    profile.name: profile
    for profile in (
        Hardware(
            name="cpu-2core",
            memory=24 * 2**30,
            sharing=2,
            flops=88e9,
            flops16=88e9,
            bandwidth=8e9,
            link=1e9,
            latency=1e-4,
            host_link=0,
            dense=1,
            streaming=1,
            source="measured on the project's machine, a core for each worker",
        ),
        Hardware(
            name="a100-80gb",
            memory=80e9,
            sharing=1,
            flops=19.5e12,
            flops16=312e12,
            bandwidth=2.039e12,
            link=300e9,
            latency=3e-5,
            host_link=32e9,
            dense=0.5,
            streaming=0.6,
            source=NVIDIA,
            launch=LAUNCH,
        ),
        Hardware(
            name="h100-80gb",
            memory=80e9,
            sharing=1,
            flops=67e12,
            flops16=989e12,
            bandwidth=3.35e12,
            link=450e9,
            latency=3e-5,
            host_link=64e9,
            dense=0.5,
            streaming=0.6,
            source=NVIDIA,
            launch=LAUNCH,
        ),
        Hardware(
            name="h200",
            memory=141e9,
            sharing=1,
            flops=67e12,
            flops16=989e12,
            bandwidth=4.8e12,
            link=450e9,
            latency=3e-5,
            host_link=64e9,
            dense=0.5,
            streaming=0.6,
            source=NVIDIA,
            launch=LAUNCH,
        ),
    )
}


def find_profile(name: str) -> Hardware:
    """The profile of this name, which may be cut (`h100`). Raises `UserError` where none or several are meant."""
    meant = [profile for key, profile in PROFILES.items() if key.startswith(name)]
    if len(meant) != 1 and name not in PROFILES:
        raise UserError(f"plan: no hardware profile is called {name!r}; there is: {', '.join(PROFILES)}")
    return PROFILES.get(name, meant[0])
