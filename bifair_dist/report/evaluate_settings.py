"""Settings of `jobs/evaluate.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class EvaluateSettings(Settings):
    """Accuracy and fairness of ranked lists that are there already."""

    run: str = setting("", "run folder: its recommendations, its dataset", unit="path")
    recommendations: str = setting(
        "",
        "Parquet or CSV file with user_id, item_id and rank (from 1) or score, of any tool; empty: the run's",
        unit="path",
    )
    dataset: str = setting("", "dataset folder with the pairs to find again; empty: the run's", unit="path")
    split: Literal["valid", "test"] = setting("test", "pairs to find again", why="what a run's lists are made for")
    groups: tuple[str, ...] = setting(
        (),
        "more group tables, with commas: Parquet or CSV files with item_id or user_id, and group",
        unit="paths",
        why="those of the dataset are always there",
    )
    k: int = setting(20, "length of the lists; longer ones are cut", unit="items", why="the usual one", ge=1)
    replicates: int = setting(
        500,
        "bootstrap replicates over users for 95 % intervals; 0: no intervals",
        unit="replicates",
        why="ends of the intervals then stand to about 5 % of their length",
        ge=0,
    )
    seed: int = setting(0, "seed of the bootstrap", why="the same intervals every time", ge=0)
    output: str = setting("", "JSON file to write beside what is printed; empty: none", unit="path")
