"""All metrics again, from recommendations.parquet and the dataset folder alone: sets, loops and pandas.

Nothing of the package is imported here, on purpose: this is what a reader of a run folder would write.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd


def recompute(dataset: Path, recommendations: Path, k: int = 20) -> dict[str, Any]:
    """`recall@k`, `ndcg@k`, `hit_ratio@k` and, under `groups`, `cv`, `min` and `utility` by label."""
    wanted = items_by_user(dataset / "interactions" / "test.parquet")
    shown = pd.read_parquet(recommendations)
    assert shown.groupby("user_id")["rank"].apply(lambda r: sorted(r) == list(range(1, len(r) + 1))).all()
    shown = shown[shown["rank"] <= k].sort_values(["user_id", "rank"])
    lists = {str(user): list(part) for user, part in shown.groupby("user_id")["item_id"]}
    recall, ndcg, hit = {}, {}, {}
    for user, items in wanted.items():
        gains = [item in items for item in lists[user]]
        recall[user] = sum(gains) / len(items)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(items))))
        ndcg[user] = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal
        hit[user] = float(any(gains))
    out: dict[str, Any] = {f"recall@{k}": mean(recall), f"ndcg@{k}": mean(ndcg), f"hit_ratio@{k}": mean(hit)}
    out["groups"] = {}
    for name, about in json.loads((dataset / "manifest.json").read_text())["groups"].items():
        table = pd.read_parquet(dataset / "groups" / f"{name}.parquet")
        utility = {}
        for label in about["labels"]:
            members = set(table.loc[table["group"] == label, "entity_id"])
            if about["entity"] == "user":
                values = {u: recall[u] for u in wanted if u in members}
            else:
                relevant = {u: items & members for u, items in wanted.items() if items & members}
                values = {u: len(items & set(lists[u])) / len(items) for u, items in relevant.items()}
            utility[label] = mean(values) if values else None
        out["groups"][name] = {"utility": utility, **spread([u for u in utility.values() if u is not None])}
    return out


def spread(utilities: list[float]) -> dict[str, float]:
    """CV: population standard deviation over mean. MIN: mean of the lowest quarter, at least one."""
    average = sum(utilities) / len(utilities)
    deviation = math.sqrt(sum((u - average) ** 2 for u in utilities) / len(utilities))
    lowest = sorted(utilities)[: max(1, len(utilities) // 4)]
    return {"cv": deviation / average, "min": sum(lowest) / len(lowest)}


def items_by_user(path: Path) -> dict[str, set[str]]:
    """Items of each user in a file of interactions."""
    pairs = pd.read_parquet(path)
    return {str(user): set(part) for user, part in pairs.groupby("user_id")["item_id"]}


def mean(values: dict[str, float]) -> float:
    """Over users."""
    return sum(values.values()) / len(values)
