"""What is refused before workers start, in one line each, with nothing left behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bifair_dist.bilevel.weights.balance_settings import BalanceSettings
from bifair_dist.data.dataset import Dataset
from bifair_dist.errors import UserError
from bifair_dist.settings import override
from bifair_dist.training.problem import check_fits
from bifair_dist.training.settings import TrainSettings
from bifair_dist.workers.ray_cluster import check_place
from bifair_dist.workers.run import launcher_of


def check_before(settings: TrainSettings) -> None:
    """What needs no data: where the output goes, and where Ray is. Raises `UserError`."""
    check_writable(Path(settings.training.output))
    if launcher_of(settings.cluster) == "ray":
        check_place(settings.cluster.address)


def check_writable(output: Path) -> None:
    """Make the folder and write to it. Raises `UserError` where that fails."""
    folder = output.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"training.output: {folder} cannot be written to ({error.strerror}); choose another --training.output"
        ) from None


def check_data(settings: TrainSettings, dataset: Dataset) -> None:
    """Refuse a dataset that no training can learn from or be measured on. Raises `UserError`."""
    check_fits(settings, dataset, _workers(settings))
    for split, what in (("valid", "the best state is chosen on them"), ("test", "the result is measured on them")):
        if len(getattr(dataset, split)) == 0:
            raise UserError(f"{dataset.folder}: no {split} pairs, and {what}; prepare it with another --split")


def with_group(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings; where the default group table is not in the dataset, with the dataset's first one, and says so."""
    name = settings.balance.group
    if name in dataset.groups or name != BalanceSettings().group or not dataset.groups:
        return settings
    first = next(iter(dataset.groups))
    print(f"balance.group: {dataset.folder} has no table {name!r}; taking its first one, {first!r}", flush=True)
    return override(settings, {"balance.group": first})


def _workers(settings: TrainSettings) -> int:
    launcher = launcher_of(settings.cluster)
    if launcher == "torchrun":
        return int(os.environ["WORLD_SIZE"])
    return 1 if launcher == "inline" else settings.cluster.workers
