"""Lists of a finished run for given users: the model put together again from its run folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from bifair_dist.config import TrainSettings, load
from bifair_dist.config.recommend import RecommendSettings
from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, Interactions
from bifair_dist.data.representations import read_rows
from bifair_dist.errors import UserError
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.parallel.comm import Comm
from bifair_dist.training.evaluator import pairs_of
from bifair_dist.training.id_rows import read_ids
from bifair_dist.training.problem import load_problem
from bifair_dist.training.run_folder import is_finished


def recommend(settings: RecommendSettings) -> pd.DataFrame:
    """Rank, write the file, return its rows. One process, which holds all of Z. Raises `UserError`."""
    run = Path(settings.run)
    if not settings.run or not (run / "config.yaml").is_file():
        raise UserError(f"run: {settings.run!r} is no run folder (it has no config.yaml); give --run FOLDER")
    if not is_finished(run):
        raise UserError(f"{run}: this run is not finished; the command that began it goes on with it")
    if Path(settings.output).suffix not in (".parquet", ".csv"):
        raise UserError(f"output: {settings.output}: end it in .parquet or .csv")
    user_rows, item_rows, dataset = nodes_of(run)
    users = _users(settings, dataset)
    items, scores, _ = full_ranking(
        user_rows,
        item_rows,
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        known=_known(dataset, settings.exclude),
        users=users,
        k=settings.k,
        comm=Comm(),
    )
    there = items.reshape(-1) >= 0
    item = items.reshape(-1)[there].numpy()
    table = pd.DataFrame(
        {
            "user_id": dataset.user_ids[users.repeat_interleave(settings.k)[there].numpy()],
            "rank": torch.arange(1, settings.k + 1, dtype=torch.int32).repeat(len(users))[there].numpy(),
            "item_id": dataset.item_ids[item],
            "title": dataset.titles[item],
            "score": scores.reshape(-1)[there].numpy(),
        }
    )
    _write(table, Path(settings.output))
    print(f"{len(users):,} users, {len(table):,} rows: {settings.output}", flush=True)
    return table


@torch.no_grad()
def nodes_of(run: Path) -> tuple[Tensor, Tensor, Dataset]:
    """(users [U, D], items [N, D], dataset) of a finished run, whose inner products are its scores."""
    problem = load_problem(load(TrainSettings(), run / "config.yaml"), Comm(), torch.device("cpu"))
    dataset, model = problem.dataset, problem.settings.model
    if problem.settings.training.id_embeddings:
        return *problem.ranking_model.ranking_rows({}, read_ids(run, dataset, model.dtype)), dataset
    rows = read_rows(run / "item_representations", dataset.item_ids, 0, dataset.n_items, model.dtype)
    theta = {name: t.to(problem.dtype) for name, t in load_file(run / "projector.safetensors").items()}
    if model.users == "frozen":
        problem = problem.with_fixed_users(problem.first_z())
    return *problem.ranking_model.ranking_rows(theta, torch.from_numpy(rows)), dataset


def _users(settings: RecommendSettings, dataset: Dataset) -> Tensor:
    """Indices int64 [U], in the order asked for."""
    asked, source = list(settings.users), "users"
    if settings.users_file:
        source = settings.users_file
        try:
            asked += Path(source).read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise UserError(f"users_file: {source}: {error.strerror}") from None
        asked = [a.removesuffix("\r") for a in asked if a.strip()]
        if not asked:
            raise UserError(f"users_file: {source}: no ids in it")
    if not asked:
        return torch.arange(dataset.n_users)
    asked = list(dict.fromkeys(asked))
    found = pd.Index(dataset.user_ids).get_indexer(pd.Index(asked))
    if (found < 0).any():
        first = asked[int((found < 0).argmax())]
        raise UserError(f"{source}: {first!r} is no user of {dataset.folder} ({int((found < 0).sum())} such ids)")
    return torch.from_numpy(found.astype(np.int64))


def _known(dataset: Dataset, exclude: str) -> Csr:
    splits: dict[str, tuple[Interactions, ...]] = {
        "all": (dataset.train, dataset.valid, dataset.test),
        "valid": (dataset.train, dataset.valid),
        "train": (dataset.train,),
        "none": (),
    }
    return pairs_of(dataset.n_users, *splits[exclude])


def _write(table: pd.DataFrame, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    try:
        if path.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"output: {path}: {error.strerror}") from None
