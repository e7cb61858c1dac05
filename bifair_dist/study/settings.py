"""Settings of `jobs/study.py`."""

from __future__ import annotations

from bifair_dist.settings import Settings, setting


class StudySettings(Settings):
    """How a study runs; what it compares stands in its file."""

    file: str = setting("", "the study: a YAML file, such as those in jobs/studies", unit="path")
    data: str = setting("datasets", "folder of the prepared datasets that the file names", unit="path")
    output: str = setting("studies", "folder that study folders and the shared runs are made in", unit="path")
    concurrent: int = setting(
        1,
        "trainings at a time, each in a process of its own",
        unit="processes",
        why="as many as there are cores (or GPUs) is faster where memory allows",
        ge=1,
    )
    threads: int = setting(1, "threads of each training on a CPU", unit="threads", why="one core each", ge=1)
    stop_after: float = setting(
        0.0,
        "time after which no training is begun; 0: no limit",
        unit="minutes",
        why="the same command goes on another day",
        ge=0,
    )
    replicates: int = setting(
        500,
        "bootstrap replicates over users for the paired intervals",
        unit="replicates",
        why="ends of the intervals then stand to about 5 % of their length",
        ge=20,
    )
