"""Settings of `jobs/recommend.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class RecommendSettings(Settings):
    """Lists of a finished run for given users."""

    run: str = setting("", "run folder", unit="path")
    users: tuple[str, ...] = setting((), "ids of users, with commas; empty: the file's, or all", unit="ids")
    users_file: str = setting("", "text file with one user id a line", unit="path")
    k: int = setting(20, "length of the lists", unit="items", why="the usual one", ge=1)
    exclude: Literal["all", "valid", "train", "none"] = setting(
        "all",
        "items left out: all that the user has, those in train and valid, those in train, or none",
        why="nobody wants to be shown what they have; valid gives the lists that test figures are about",
    )
    output: str = setting(
        "recommendations.parquet",
        "Parquet or CSV file: user_id, rank (from 1), item_id, title, score",
        unit="path",
        why="the format by the ending; jobs/evaluate.py reads it",
    )
