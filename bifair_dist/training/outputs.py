"""What a run leaves behind: the run folder of docs/files.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from bifair_dist.data.dataset import Dataset, Strings
from bifair_dist.data.representations import write_manifest, write_shard
from bifair_dist.files import writing
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.runs import Metrics, Run
from bifair_dist.training.evaluator import Evaluation
from bifair_dist.training.problem import Problem
from bifair_dist.training.steps import State


def write_result(
    run: Run, problem: Problem, state: State, test: Evaluation | None, metrics: Metrics, name: str = ""
) -> None:
    """What a finished run says of its state: vectors, lists of the test, projector and, last, `metrics.json`.

    `test` None: the run is not tested. `name`: the run's, where its folder is to be renamed; empty: the folder's.
    """
    comm, dataset = problem.comm, problem.dataset
    about = {"model": "bifair_dist", "run": name or run.name, "started_from": problem.started_from}
    users, items = problem.method.rows_to_write(problem.ranking_model, state.z)
    if users is not None:
        write_vectors(run.user_vectors, dataset.user_ids, users, comm, about)
    write_vectors(run.item_vectors, dataset.item_ids, items, comm, about)
    with torch.no_grad():
        write_serving(run.serving, dataset, *problem.ranking_model.ranking_rows(state.theta, state.z), comm, about)
    if test is not None:
        write_recommendations(run.recommendations, dataset, test, comm)
    if comm.rank == 0:
        write_projector(run.projector, state.theta)
        run.write_metrics(metrics)


def write_vectors(
    folder: Path, ids: Strings, rows: Tensor, comm: Comm, about: dict[str, Any], key: str = "item_id"
) -> None:
    """A representations folder: every worker writes its own rows [m, d] as a shard, the first one the manifest.

    `ids` are all of them, of items (`item_representations/`) or of users (`user_embeddings/`), in the column `key`.
    """
    start, stop = row_range(len(ids), comm.size, comm.rank)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = rows[: stop - start].detach().cpu().numpy()
    shard = write_shard(folder, comm.rank, ids[start:stop], vectors, key=key) if stop > start else None
    shards = comm.gather_objects(shard)
    if comm.rank == 0:
        write_manifest(folder, [s for s in shards if s is not None], {"key": key, **about}, ordered=True)


def write_serving(
    folder: Path, dataset: Dataset, users: Tensor, items: Tensor, comm: Comm, about: dict[str, Any]
) -> None:
    """`items/` and `users/` below `folder`: the rows that ranking uses, whose inner products are the model's scores.

    `users` [m_users, k] and `items` [m_items, k] are this worker's rows, as `Backbone.ranking_rows` returns them.
    """
    write_vectors(folder / "items", dataset.item_ids, items, comm, about)
    write_vectors(folder / "users", dataset.user_ids, users, comm, about, key="user_id")


def write_recommendations(path: Path, dataset: Dataset, evaluation: Evaluation, comm: Comm) -> None:
    """`recommendations.parquet` (user_id, rank from 1, item_id, score), best first; written by the first worker."""
    parts = comm.gather_objects((evaluation.users.cpu(), evaluation.items.cpu(), evaluation.scores.cpu()))
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
    with writing(path) as part:
        pq.write_table(table, part)


def write_projector(path: Path, theta: Theta) -> None:
    """`projector.safetensors`: the projector's parameters by name."""
    with writing(path) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in theta.items()}, part)
