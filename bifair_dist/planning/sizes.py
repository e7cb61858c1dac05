"""The sizes to plan for: given, or read from the manifests of a dataset and of its representations.

Id embeddings read no representations: they are as wide as the model's space. Where no groups are balanced, there are 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bifair_dist.cost.work import Sizes
from bifair_dist.data.balanced import check_known, most_groups
from bifair_dist.errors import UserError
from bifair_dist.planning.settings import TrainPlanSettings

MINILM = 384
"""Columns of the vectors that a training makes where none are given."""
GROUPS = 8
"""Groups where neither a number nor a dataset is given."""


def find_sizes(settings: TrainPlanSettings) -> Sizes:
    """Sizes of `--plan.*`, the rest from the manifests, which is all that is read.

    Raises `UserError` where a size is neither given nor to be found.
    """
    given, manifest = settings.plan, _dataset_manifest(settings)
    counts: dict[str, Any] = manifest.get("counts", {})
    items, users = given.items or counts.get("items", 0), given.users or counts.get("users", 0)
    pairs = given.pairs or counts.get("train", 0)
    if not (items and users and pairs):
        raise UserError(
            "plan: give --data.dataset FOLDER, or --plan.items, --plan.users and --plan.pairs for data not at hand"
        )
    if pairs > items * users:
        raise UserError(f"plan.pairs: {pairs:,} pairs are more than {users:,} users and {items:,} items can have")
    training = settings.training
    width = settings.model.embedding_dim if training.id_embeddings else given.width or _width(settings)
    groups = (given.groups or _groups(settings, manifest)) if training.balances else 0
    return Sizes(items=items, users=users, pairs=pairs, width=width, groups=groups)


def _dataset_manifest(settings: TrainPlanSettings) -> dict[str, Any]:
    """Of the dataset that the training would read; empty where it would have to be made first."""
    from bifair_dist.data.dataset import read_manifest

    if settings.data.dataset:
        return read_manifest(Path(settings.data.dataset).expanduser())
    generated = Path(settings.data.cache).expanduser() / "generated"
    given = settings.plan
    if (given.items and given.users and given.pairs) or not generated.exists():
        return {}
    return read_manifest(generated)


def _width(settings: TrainPlanSettings) -> int:
    if not settings.data.representations:
        return MINILM
    from bifair_dist.data.representations.manifest import read_manifest

    return int(read_manifest(Path(settings.data.representations).expanduser())["dim"])


def _groups(settings: TrainPlanSettings, manifest: dict[str, Any]) -> int:
    if not manifest:
        return GROUPS
    tables = manifest["groups"]
    check_known(settings.balance.group, tables, settings.data.dataset or "the dataset")
    return most_groups(settings.balance.group, {name: len(table["labels"]) for name, table in tables.items()})
