"""Everything a worker needs before it trains: graph, samplers, groups, its rows of Z and a first projector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bifair_dist.bilevel.membership import Membership
from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.representations import read_rows
from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.graph import Graph, build_graph
from bifair_dist.model.id_embeddings import IdEmbeddings
from bifair_dist.model.projector import Theta, init_theta, widths
from bifair_dist.model.refresh import InBlocks, user_inputs
from bifair_dist.parallel.comm import Comm, row_range, shard_rows
from bifair_dist.parallel.deepspeed_setup import check_installed
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.training.id_rows import first_rows
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
    def n_rows(self) -> int:
        """Rows of Z over all workers: N, or N + U where ids have embeddings."""
        return self.dataset.n_items + self.dataset.n_users * self.settings.training.id_embeddings

    @property
    def started_from(self) -> str:
        """Folder of the representations that the run starts from, or what it starts from instead."""
        training = self.settings.training
        return f"seed {training.seed}" if training.id_embeddings else self.settings.data.representations

    def first_z(self) -> Tensor:
        """This worker's rows of what the run starts from, [m, d], padded with zeros."""
        training = self.settings.training
        if training.id_embeddings:
            k = self.settings.model.output
            n_items, n_users = self.dataset.n_items, self.dataset.n_users
            return first_rows(n_items, n_users, k, self.comm, training.seed, self.dtype).to(self.device)
        start, stop = row_range(self.dataset.n_items, self.comm.size, self.comm.rank)
        folder = self.settings.data.representations
        if self.settings.training.warm_start:
            folder = str(Path(self.settings.training.warm_start) / "item_representations")
        rows = read_rows(folder, self.dataset.item_ids, start, stop, self.settings.model.dtype)
        z = torch.zeros(shard_rows(self.dataset.n_items, self.comm.size), rows.shape[1], dtype=self.dtype)
        z[: stop - start] = torch.from_numpy(rows)
        return z.to(self.device)

    def first_theta(self, d: int) -> Theta:
        """The projector that the run starts from: drawn from the seed, or another run's; empty where there is none."""
        if self.settings.training.id_embeddings:
            return {}
        model, start = self.settings.model, self.settings.training.warm_start
        if not start:
            theta = init_theta(d, model.hidden, model.output, model.projector, self.settings.training.seed, self.dtype)
        else:
            theta = {name: t.to(self.dtype) for name, t in load_file(Path(start) / "projector.safetensors").items()}
            if widths(theta)[0] != d:
                raise UserError(
                    f"{start}: its projector takes {widths(theta)[0]} columns, the representations have {d}"
                )
        return {name: t.to(self.device) for name, t in theta.items()}

    @property
    def dtype(self) -> torch.dtype:
        """Number format of everything trained."""
        return DTYPES[self.settings.model.dtype]

    def with_fixed_users(self, z: Tensor) -> Problem:
        """The same with users' inputs taken from `z` once, and no longer following it."""

        assert isinstance(self.model, AlphaRec)
        # A fold pools them once more, in each epoch, from Z as it is now.
        rows = z.detach().clone() if self.settings.folded else None
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
    model = make_model(settings, graph.to(device), comm)
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
    return make_model(settings, graph.to(device), comm)


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
        user, item, dataset.n_items, batch_size=training.batch, negatives=min(model.negatives, dataset.n_items),
        shared=model.negative_sampling == "shared", known=known[0], users_of_items=known[1], seed=training.seed,
        stream=stream, rank=comm.rank, workers=comm.size,
    )  # fmt: skip


def make_model(settings: TrainSettings, graph: Graph, comm: Comm) -> Backbone:
    """The recommender that the method trains, on one graph."""
    model, training = settings.model, settings.training
    if training.id_embeddings:
        layers = model.layers if training.method == "lightgcn" else 0
        return IdEmbeddings(graph, Sharded(comm), layers, model.loss, model.tau, model.l2)
    kind = InBlocks if model.propagation == "cached" else AlphaRec
    return kind(graph, Sharded(comm), model.layers, model.tau)


def check_fits(settings: TrainSettings, dataset: Dataset, workers: int) -> None:
    """Refuse settings that this dataset or this number of workers cannot serve. Raises `UserError`."""
    if settings.training.strategy == "deepspeed":
        check_installed()
    if len(dataset.train) == 0:
        raise UserError(f"{settings.data.dataset}: no training pairs; prepare it with other options")
    if workers > settings.model.output:
        raise UserError(
            f"{workers} workers, but each needs a column of the model's space, which has {settings.model.output} "
            "(model.output); lower --cluster.workers"
        )
    if settings.folded and len(dataset.train) < settings.bilevel.folds:
        raise UserError(
            f"bilevel.folds: {settings.bilevel.folds} folds of {len(dataset.train)} training pairs would be empty; "
            "take fewer, or --bilevel.outer_data same"
        )
    name = settings.balance.group
    if settings.training.balances and name not in dataset.groups:
        known = ", ".join(dataset.groups) or "none"
        raise UserError(f"balance.group: {dataset.folder} has no group table {name!r}; it has: {known}")


def _membership(settings: TrainSettings, dataset: Dataset) -> Membership | None:
    """The group table that training balances; None for a method that balances none."""
    if not settings.training.balances:
        return None
    table = dataset.groups[settings.balance.group]
    n = dataset.n_items if table.entity == "item" else dataset.n_users
    index, group = torch.from_numpy(table.entity_index), torch.from_numpy(table.group_index)
    return Membership.of(table.entity, index, group, n, len(table.labels))
