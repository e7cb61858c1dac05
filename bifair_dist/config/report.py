"""Settings of `jobs/report.py`."""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.config.settings import Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSettings(Settings):
    """The fairness report of finished runs."""

    runs: tuple[str, ...] = setting((), "run folders, with commas; or name them before the settings", unit="paths")
    dataset: str = setting(
        "", "dataset folder; empty: the runs'", unit="path", why="another place only where it was moved since"
    )
    representations: str = setting(
        "", "the vectors that the runs began with; empty: the runs'", unit="path",
        why="another place only where they were moved since",
    )  # fmt: skip
    replicates: int = setting(
        500, "bootstrap replicates over users for 95 % intervals", unit="replicates",
        why="ends of the intervals then stand to about 5 % of their length", at_least=20,
    )  # fmt: skip
    seed: int = setting(0, "seed of the bootstrap", why="the same intervals every time", at_least=0)
    output: str = setting(
        "", "the page, report.json beside it has the same stem; empty: report.html in the run folder, of several runs "
        "in the current folder", unit="path",
    )  # fmt: skip
