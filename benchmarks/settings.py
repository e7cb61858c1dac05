"""Settings of `jobs/benchmark.py`: those of a training, and the catalogue and sweeps to measure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError
from bifair_dist.settings import Settings, section, setting
from bifair_dist.training.settings import TrainSettings

SWEEPS = ("strong", "weak", "catalogue", "items", "width", "pairs", "batch", "groups")
METHODS = ("mf", "lightgcn", "alpharec", "theta_only", "separate", "bifair")


class ScaleSettings(Settings):
    """The generated catalogue, and along what it grows."""

    items: int = setting(4_000, "items of the smallest catalogue", unit="items", why="seconds on a core", ge=2)
    users: int = setting(2_000, "its users", unit="users", why="half of the items", ge=2)
    pairs: int = setting(60_000, "its training pairs, power-law degrees", unit="pairs", why="30 a user", ge=2)
    width: int = setting(256, "columns of its item vectors", unit="columns", why="a small encoder", ge=1)
    groups: int = setting(9, "groups of its items", unit="groups", why="as many as genres", ge=1)
    workers: tuple[PositiveInt, ...] = setting(
        (1, 2),
        "numbers of workers, with commas; under torchrun its own is the only one",
        unit="processes",
        why="the cores of a small machine",
    )
    sweeps: tuple[str, ...] = setting(
        SWEEPS,
        "strong: one catalogue on more workers; weak: a catalogue that grows with them; catalogue: items, users and "
        "pairs grow together; items, width, pairs, batch, groups: that size grows, all on the most workers",
        unit="names",
        why="all",
    )
    methods: tuple[str, ...] = setting(
        (),
        "methods to measure side by side on every case: mf, lightgcn, alpharec, theta_only, separate (its last "
        "phase), bifair; "
        "none: training.method alone",
        unit="names",
        why="each doubles the time",
    )
    factors: tuple[Annotated[int, Field(ge=2)], ...] = setting(
        (2, 4), "times the smallest size in a sweep of a size", unit="times", why="three points show a line"
    )
    steps: int = setting(
        3,
        "timed steps of each kind, after one that is not; the median counts",
        unit="steps",
        why="minutes in all",
        ge=1,
    )
    ranked: int = setting(
        1_000, "users to rank the whole catalogue for", unit="users", why="shows users a second", ge=1
    )
    fresh: bool = setting(
        False,
        "new processes for every case, so that its peak holds nothing of earlier ones (launcher inline)",
        why="starting them takes longer than a small case",
    )
    reading: bool = setting(True, "measure reading the smallest case too; it is written to the output folder first")
    embedded: int = setting(
        0,
        "titles to embed with the embedding job, as --embed.* says; 0: the job is not measured",
        unit="items",
        why="starting a model takes a minute",
        ge=0,
    )
    output: str = setting("benchmark", "folder for benchmark.json, benchmark.md and benchmark.html", unit="path")

    def check(self) -> None:
        """Every sweep is one that there is."""
        for name in self.sweeps:
            if name not in SWEEPS:
                raise UserError(f"scale.sweeps: unknown sweep {name!r}; there is: {', '.join(SWEEPS)}")
        for name in self.methods:
            if name not in METHODS:
                raise UserError(f"scale.methods: {name!r} is not measured here; there is: {', '.join(METHODS)}")


class BenchmarkSettings(TrainSettings):
    """Settings of `jobs/benchmark.py`; data, checkpoint and tracking are not read."""

    scale: ScaleSettings = section(ScaleSettings)
    embed: EmbedSettings = section(EmbedSettings)
