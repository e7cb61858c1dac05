"""What a run leaves behind: the best state while training, and the run folder of docs/files.md at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from bifair_dist.catalog.dataset import Dataset
from bifair_dist.embedding.representations import write_manifest, write_shard
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.training.evaluator import Evaluation


class BestState:
    """The best theta (in memory) and, where Z is trained, this worker's best rows of Z (in a file, not in memory)."""

    def __init__(self, folder: Path, comm: Comm) -> None:
        self._file = folder / "checkpoints" / f"best-{comm.rank}.safetensors"
        self._theta: Theta = {}
        self._has_z = False

    def save(self, theta: Theta, z: Tensor | None) -> None:
        """Keep copies; z None where it has not moved."""
        self._theta = {name: t.detach().clone() for name, t in theta.items()}
        if z is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(".part")
            save_file({"z": z.detach()}, part)
            os.replace(part, self._file)
        self._has_z = z is not None

    @torch.no_grad()
    def restore(self, theta: Theta, z: Tensor) -> None:
        """Copy the best state back in place; nothing happens where none was saved."""
        for name, t in self._theta.items():
            theta[name].copy_(t)
        if self._has_z:
            z.copy_(load_file(self._file)["z"])


def write_json(path: Path, value: Any) -> None:
    """Write all of it or nothing; NaN becomes null, which JSON has and NaN is not."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def write_representations(folder: Path, dataset: Dataset, z: Tensor, comm: Comm, about: dict[str, Any]) -> None:
    """`item_representations/`: every worker writes its own rows as a shard, the first one the manifest."""
    start, stop = row_range(dataset.n_items, comm.size, comm.rank)
    folder.mkdir(parents=True, exist_ok=True)
    rows = z[: stop - start].detach().cpu().numpy()
    shard = write_shard(folder, comm.rank, dataset.item_ids[start:stop], rows) if stop > start else None
    shards = [shard]
    if comm.size > 1:
        shards = [None] * comm.size
        dist.all_gather_object(shards, shard, group=comm.group)
    if comm.rank == 0:
        write_manifest(folder, [s for s in shards if s is not None], about, ordered=True)


def write_recommendations(path: Path, dataset: Dataset, evaluation: Evaluation, comm: Comm) -> None:
    """`recommendations.parquet` (user_id, rank from 1, item_id, score), best first; written by the first worker."""
    parts = [(evaluation.users.cpu(), evaluation.items.cpu(), evaluation.scores.cpu())]
    if comm.size > 1:
        gathered: list[Any] = [None] * comm.size
        dist.all_gather_object(gathered, parts[0], group=comm.group)
        parts = gathered
    if comm.rank != 0:
        return
    users, items, scores = (torch.cat(list(column)) for column in zip(*parts, strict=True))
    order = torch.argsort(users)
    users, items, scores = users[order], items[order], scores[order]
    k = items.shape[1]
    user = users.repeat_interleave(k)
    rank = torch.arange(1, k + 1, dtype=torch.int32).repeat(len(users))
    there = items.reshape(-1) >= 0  # shorter lists, where a user knows almost the whole catalogue
    table = pa.table(
        {
            "user_id": pa.array(dataset.user_ids[user[there].numpy()], pa.string()),
            "rank": rank[there].numpy(),
            "item_id": pa.array(dataset.item_ids[items.reshape(-1)[there].numpy()], pa.string()),
            "score": scores.reshape(-1)[there].numpy(),
        }
    )
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part)
    os.replace(part, path)


def write_projector(path: Path, theta: Theta) -> None:
    """`projector.safetensors`: the projector's parameters by name."""
    part = path.with_name(path.name + ".part")
    save_file({name: t.detach().cpu().contiguous() for name, t in theta.items()}, part)
    os.replace(part, path)
