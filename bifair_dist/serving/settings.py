"""Settings of the jobs that use a finished run."""

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
    overwrite: bool = setting(False, "replace the output file where there is one", why="it may be another's")


class ExportSettings(Settings):
    """A finished run for other programs."""

    run: str = setting("", "run folder; or name it before the settings", unit="path")
    format: Literal["huggingface", "faiss", "lance", "npy", "safetensors"] | None = setting(
        None,
        "huggingface: the whole model with a model card, bd.load_run reads it; the others: ranking vectors of items "
        "and users, whose inner products are the scores; none: huggingface, or a run folder where another point is "
        "asked for",
        why="the one that needs no other program",
    )
    interpolation: float | None = setting(
        None,
        "write another state of the run as a run folder: between AlphaRec's (0) and the fair end (1); none: the "
        "run's own",
        unit="share of the way",
        why="the training chose already",
        ge=0,
        le=1,
    )
    accuracy_budget: float | None = setting(
        None,
        "the same, for the fairest state that loses at most this of AlphaRec's validation Recall and NDCG",
        unit="share",
        why="the training chose already",
        ge=0,
        lt=1,
    )
    output: str = setting(
        "",
        "folder to write, which must not exist; empty: export-FORMAT in the run folder, or RUN-at-SHARE beside it",
        unit="path",
    )
