"""What a run keeps so that it can go on after it was cut off."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class CheckpointSettings(Settings):
    """Checkpoints: written at every validation and every so many steps, by all workers, each its own rows of Z."""

    resume: Literal["auto", "never"] = setting(
        "auto",
        "auto: a run folder that exists goes on from its last complete checkpoint; never: it is refused",
        why="the same command after a cut should do the right thing",
    )
    every: int = setting(
        1000,
        "steps between checkpoints beside those at validations; 0: only at validations",
        unit="steps",
        why="minutes of work on large data, where validations are hours apart",
        ge=0,
    )
    keep: int = setting(
        2,
        "last checkpoints kept, each with the best one that it refers to",
        unit="checkpoints",
        why="one may be damaged",
        ge=1,
    )
    folder: str = setting(
        "",
        "where checkpoints go, a path or fsspec URI (s3://bucket/x); empty: checkpoints/ in the run folder",
        unit="path",
        why="the run folder is on storage that all workers see anyway",
    )
