"""The recommender of a finished run, put together from its folder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.representations import read_rows
from bifair_dist.model.projector import Theta
from bifair_dist.model.unseen import Unseen
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs import Run
from bifair_dist.serving.recommender import Recommender
from bifair_dist.settings import load
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.settings import TrainSettings


def recommender_of(folder: Path) -> Recommender:
    """Of the run in a folder: its vectors and dataset; Z only where something new is asked for. Raises `UserError`."""
    run = Run.finished_in(folder, "run")
    settings = load(TrainSettings(), run.config_file)
    dataset = read_dataset(settings.data.dataset)
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    users, items = _vectors(run, settings, dataset)
    pairs = {name: (split.user, split.item) for name, split in splits.items()}
    ids = dataset.item_ids, dataset.titles, dataset.user_ids
    return Recommender(*ids, items, users, pairs, lambda: _unseen(run, settings))


def _vectors(run: Run, settings: TrainSettings, dataset: Dataset) -> tuple[Tensor, Tensor]:
    dtype = settings.model.dtype
    if not run.serving.is_dir():  # a run of an earlier version
        problem = _problem(settings)
        return problem.ranking_model.ranking_rows(*_state(run, problem))
    users, items = (
        torch.from_numpy(read_rows(run.serving / name, ids, dtype=dtype))
        for name, ids in (("users", dataset.user_ids), ("items", dataset.item_ids))
    )
    return users, items


@torch.no_grad()
def _unseen(run: Run, settings: TrainSettings) -> Unseen:
    problem = _problem(settings)
    model, (theta, z) = problem.ranking_model, _state(run, problem)
    pooled_from = problem.first_z() if settings.model.users == "frozen" else None
    return problem.method.unseen(model, theta, z, pooled_from)


@torch.no_grad()
def _problem(settings: TrainSettings) -> Problem:
    problem = load_problem(settings, Comm(), torch.device("cpu"))
    return problem.with_fixed_users(problem.first_z()) if settings.model.users == "frozen" else problem


def _state(run: Run, problem: Problem) -> tuple[Theta, Tensor]:
    """(theta, Z) at the end of the run, all of it."""
    theta = {name: t.to(problem.dtype) for name, t in load_file(run.projector).items()}
    return theta, problem.method.read_z(run, problem.dataset, problem.settings.model.dtype)
