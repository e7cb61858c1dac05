"""Settings of `jobs/rerank.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class RerankSettings(Settings):
    """A finished run's lists made fairer without training."""

    run: str = setting("", "run folder whose lists are re-ranked, such as AlphaRec's", unit="path")
    group: str = setting("", "group table of items that is to be balanced; empty: the dataset's first", unit="name")
    method: Literal["max_min", "calibrated"] = setting(
        "max_min",
        "max_min: exposure of groups in proportion to their training pairs (P-MMF's objective); calibrated: each "
        "user's list in the proportions of what the user has (Steck 2018)",
        why="the one made for groups of items",
    )
    strengths: tuple[float, ...] = setting(
        (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.5),
        "strengths that are tried on validation, with commas",
        unit="share",
        why="ten points as on the way to a fair state, dense where 1 % of accuracy is lost",
    )
    accuracy_budget: float = setting(
        0.01, "loss of Recall and NDCG that is allowed on validation", unit="share", why="as trainings have", ge=0, lt=1
    )
    candidates: int = setting(
        200, "best items of each user that may be re-ranked", unit="items", why="ten lists of 20", ge=1
    )
    k: int = setting(20, "length of the lists", unit="items", why="the usual one", ge=1)
    replicates: int = setting(
        500,
        "bootstrap replicates over users for the intervals of the changes",
        unit="replicates",
        why="as evaluate",
        ge=1,
    )
    output: str = setting("", "Parquet file for the lists of the test users; empty: none", unit="path")
