"""Settings of `jobs/report.py`."""

from __future__ import annotations

from bifair_dist.settings import Settings, setting


class ReportSettings(Settings):
    """The fairness report of finished runs."""

    runs: tuple[str, ...] = setting((), "run folders, with commas; or name them before the settings", unit="paths")
    dataset: str = setting(
        "", "dataset folder; empty: the runs'", unit="path", why="another place only where it was moved since"
    )
    representations: str = setting(
        "",
        "the vectors that the runs began with; empty: the runs'",
        unit="path",
        why="another place only where they were moved since",
    )
    replicates: int = setting(
        500,
        "bootstrap replicates over users for 95 % intervals",
        unit="replicates",
        why="ends of the intervals then stand to about 5 % of their length",
        ge=20,
    )
    seed: int = setting(0, "seed of the bootstrap", why="the same intervals every time", ge=0)
    output: str = setting(
        "",
        "the page, report.json beside it has the same stem; empty: report.html in the run folder, of several runs "
        "in the current folder",
        unit="path",
    )
