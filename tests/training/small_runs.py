"""Small generated data and quick settings, for trainings inside the test process: one worker, a second or two each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from bifair_dist.after_training import publish
from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.representations import write_representations
from bifair_dist.settings import override
from bifair_dist.training.launch import train
from bifair_dist.training.settings import TrainSettings

WIDTH = 12


@dataclass(frozen=True, slots=True)
class Small:
    """About 200 items and 150 users, with random vectors as item representations."""

    dataset: Path
    representations: Path


def make_small(folder: Path) -> Small:
    """Write both folders."""
    small = Small(folder / "dataset", folder / "representations")
    generate_dataset(small.dataset, n_items=200, n_users=150)
    ids = read_dataset(small.dataset).item_ids
    vectors = np.random.default_rng(0).standard_normal((len(ids), WIDTH)).astype(np.float32)
    write_representations(small.representations, ids, vectors, {"model": "random"})
    return small


def quick(small: Small, output: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted settings of a short run; `changes` win."""
    return {
        "data.dataset": str(small.dataset),
        "data.representations": str(small.representations),
        "data.cache": str(output.parent / "cache"),
        "model.hidden": 8,
        "model.embedding_dim": 6,
        "model.num_negatives": 32,
        "training.batch_size": 512,
        "training.max_epochs": 1,
        "training.eval_every": 1,
        "training.bilevel_epochs": 1,
        "training.output": str(output),
        "training.report": False,
        "balance.refresh": 3,
        "balance.interpolation": 1.0,
        "bilevel.eta": 1e-3,
        "tracking.enabled": False,
        "cluster.launcher": "inline",
        **changes,
    }


def run(small: Small, output: Path, changes: Mapping[str, Any]) -> Path:
    """Train in this process; returns the run folder."""
    return train(override(TrainSettings(), quick(small, output, changes)), finish=publish)


def command_line(settings: Mapping[str, Any]) -> list[str]:
    """Settings as arguments of `jobs/train.py`."""
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def metrics_of(folder: Path) -> dict[str, Any]:
    """`metrics.json`."""
    return dict(json.loads((folder / "metrics.json").read_text()))


def history_of(folder: Path) -> list[dict[str, Any]]:
    """`history.jsonl`."""
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def vectors_of(folder: Path) -> np.ndarray:
    """Rows of a representations folder in the order of their item ids, in the number format on disk."""
    table = pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("*.parquet"))])
    order = np.argsort(table["item_id"].to_numpy().astype(str), kind="stable")
    flat = table["vector"].combine_chunks().flatten().to_numpy()
    return np.asarray(flat.reshape(len(table), -1)[order])


def theta_of(folder: Path) -> dict[str, np.ndarray]:
    """The projector's parameters."""
    return dict(load_file(folder / "projector.safetensors"))
