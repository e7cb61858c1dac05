"""Everything a worker needs before it trains: graph, samplers, groups, its rows of Z and a first projector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bifair_dist.bilevel.membership import Membership
from bifair_dist.csr import Csr
from bifair_dist.data.balanced import balanced_tables, check_known, group_labels
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.representations import read_manifest, read_rows
from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import Theta
from bifair_dist.model.refresh import user_inputs
from bifair_dist.parallel.comm import Comm, row_range, shard_rows
from bifair_dist.parallel.deepspeed_setup import check_installed
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.parallel.tables import BLOCK, Tables
from bifair_dist.training.methods.method import Method
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.settings import TrainSettings

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(slots=True)
class Problem:
    """A worker's view of a run.

    `model` propagates over the pairs that the inner level trains on, `ranking_model` over all training pairs: the same
    except in an epoch with a fold (folds.py), which has an `outer_sampler`, too. `fixed_from`: the rows of Z that
    users' inputs are pooled from once; None where they follow Z.
    """

    settings: TrainSettings
    dataset: Dataset
    comm: Comm
    device: torch.device
    model: Backbone
    ranking_model: Backbone
    sampler: BatchSampler
    outer_sampler: BatchSampler | None
    membership: Membership | None
    fixed_from: Tensor | None = None

    @property
    def method(self) -> Method:
        """The method that is trained, with its settings."""
        return method_of(self.settings)

    @property
    def n_rows(self) -> int:
        """Rows of Z over all workers."""
        return self.method.n_rows(self.dataset)

    @property
    def tables(self) -> Tables:
        """Where Z, its moments and its average are."""
        model = self.settings.model
        return Tables(self.device, model.z_device, model.z_folder)

    @property
    def started_from(self) -> str:
        """Folder of the representations that the run starts from, or what it starts from instead."""
        return f"seed {self.settings.training.seed}" if self.at_random else self.settings.data.representations

    @property
    def at_random(self) -> bool:
        """Whether Z starts at random and not from vectors."""
        return self.method.vectors(self.settings) is None

    def first_z(self) -> Tensor:
        """This worker's rows of what the run starts from, [m, d], padded with zeros."""
        settings, dataset, comm = self.settings, self.dataset, self.comm
        folder = self.method.vectors(settings)
        if self.tables.where == "device" or folder is None:
            return self.method.first_z(settings, dataset, comm, self.dtype).to(self.device)
        start, stop = row_range(dataset.n_items, comm.size, comm.rank)
        z = self.tables.zeros((shard_rows(dataset.n_items, comm.size), read_manifest(folder)["dim"]), self.dtype)
        for at in range(start, stop, BLOCK):  # never all of them in memory
            rows = read_rows(folder, dataset.item_ids, at, min(at + BLOCK, stop), settings.model.dtype)
            z[at - start : at - start + len(rows)] = torch.from_numpy(rows)
        return z

    def first_theta(self, d: int) -> Theta:
        """The projector that the run starts from, empty where there is none; Z is `d` wide."""
        return {name: t.to(self.device) for name, t in self.method.first_theta(self.settings, d, self.dtype).items()}

    @property
    def balanced_labels(self) -> tuple[str, ...]:
        """Of the groups that training balances; empty for a method that balances none."""
        if not self.settings.training.balances:
            return ()
        return group_labels(balanced_tables(self.settings.balance.group, self.dataset.groups))

    @property
    def dtype(self) -> torch.dtype:
        """Number format of everything trained."""
        return DTYPES[self.settings.model.dtype]

    def with_fixed_users(self, z: Tensor) -> Problem:
        """The same with users' inputs taken from `z` once, and no longer following it."""
        if not isinstance(self.model, AlphaRec):
            raise UserError(f"model.users: {type(self.model).__name__} has no users' inputs to hold fixed; take follow")
        # A fold pools them once more, in each epoch, from Z as it is now.
        rows = self.tables.copy(z) if self.settings.folded else None
        with torch.no_grad():
            model = replace(self.model, user_inputs=user_inputs(self.model, z))
        return replace(self, model=model, ranking_model=model, fixed_from=rows)


def load_problem(settings: TrainSettings, comm: Comm, device: torch.device) -> Problem:
    """Read the dataset and build a worker's `Problem`. Raises `UserError` where settings and data do not fit."""
    dataset = read_dataset(settings.data.dataset, verify=comm.rank == 0)
    check_fits(settings, dataset, comm.size)
    user, item = torch.from_numpy(dataset.train.user), torch.from_numpy(dataset.train.item)
    graph = build_graph(user, item, dataset.n_users, dataset.n_items, DTYPES[settings.model.dtype])
    # On the CPU what is known is the graph's own memory.
    known = (graph.items_of_users, graph.users_of_items) if settings.model.exclude_known else (None, None)
    model = method_of(settings).model(settings, graph.to(device), comm)
    return Problem(
        settings=settings,
        dataset=dataset,
        comm=comm,
        device=device,
        model=model,
        ranking_model=model,
        sampler=sampler_of(settings, dataset, comm, known, user, item, "train"),
        outer_sampler=None,
        membership=_membership(settings, dataset),
    )


def backbone_on(
    settings: TrainSettings, dataset: Dataset, comm: Comm, device: torch.device, user: Tensor, item: Tensor
) -> Backbone:
    """The recommender that the method trains, on the graph of the pairs (user, item), [E]."""
    graph = build_graph(user, item, dataset.n_users, dataset.n_items, DTYPES[settings.model.dtype])
    return method_of(settings).model(settings, graph.to(device), comm)


def sampler_of(
    settings: TrainSettings,
    dataset: Dataset,
    comm: Comm,
    known: tuple[Csr | None, Csr | None],
    user: Tensor,
    item: Tensor,
    stream: str,
) -> BatchSampler:
    """Batches of the pairs (user, item) [E]; `known` (by user, by item) and `stream` as `BatchSampler` has them."""
    training, model = settings.training, settings.model
    return BatchSampler(
        user,
        item,
        dataset.n_items,
        batch_size=training.batch_size,
        negatives=min(model.num_negatives, dataset.n_items),
        shared=model.negative_sampling == "shared",
        known=known[0],
        users_of_items=known[1],
        seed=training.seed,
        stream=stream,
        rank=comm.rank,
        workers=comm.size,
    )


def check_fits(settings: TrainSettings, dataset: Dataset, workers: int) -> None:
    """Refuse settings that this dataset or this number of workers cannot serve. Raises `UserError`."""
    if settings.training.strategy == "deepspeed":
        check_installed()
    if len(dataset.train) == 0:
        raise UserError(f"{settings.data.dataset}: no training pairs; prepare it with other options")
    if workers > settings.model.embedding_dim:
        raise UserError(
            f"{workers} workers, but each needs a column of the model's space, which has "
            f"{settings.model.embedding_dim} (model.embedding_dim); lower --cluster.workers"
        )
    if settings.folded and len(dataset.train) < settings.bilevel.folds:
        raise UserError(
            f"bilevel.folds: {settings.bilevel.folds} folds of {len(dataset.train)} training pairs would be empty; "
            "take fewer, or --bilevel.outer_data same"
        )
    if settings.training.balances:
        check_known(settings.balance.group, dataset.groups, str(dataset.folder))
        balanced_tables(settings.balance.group, dataset.groups)


def _membership(settings: TrainSettings, dataset: Dataset) -> Membership | None:
    """The groups that training balances; None for a method that balances none."""
    if not settings.training.balances:
        return None
    entities = {"item": dataset.n_items, "user": dataset.n_users}
    return Membership.side_by_side(
        [
            Membership.of(
                t.entity,
                torch.from_numpy(t.entity_index),
                torch.from_numpy(t.group_index),
                entities[t.entity],
                len(t.labels),
            )
            for t in balanced_tables(settings.balance.group, dataset.groups)
        ]
    )
