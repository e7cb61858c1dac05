"""Bi-level steps on small problems that are awkward to cut in pieces, for any number of workers.

`run_all` does every case in one process of a world of W. With W = 1 it needs no process group. Everything that a
worker holds only a part of is gathered before it is returned, so that results of different W can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.penalty import Penalty
from bifair_dist.bilevel.step import BilevelStep, Places
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.csr import Csr
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.metrics import evaluate
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.batch import Batch
from bifair_dist.model.graph import build_graph
from bifair_dist.model.id_embeddings import IdEmbeddings
from bifair_dist.model.projector import Theta, init_theta
from bifair_dist.parallel.comm import Comm, row_range, shard_rows
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.sampler import BatchSampler

STEPS, FIRST, K, RATE, USER_GROUPS = 5, 2, 6, 1e-2, 3
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One problem. 31 users and 26 items divide by none of 3 and 4; 3 of the users and items have no interaction.

    152 pairs in batches of 50: the fourth batch of an epoch has 2 examples, so some of 3 or 4 workers have none. Steps
    start at the third batch and so cross it and the end of the epoch. The last item group has only items that nobody
    trains on, so it is empty in every batch; most groups are empty in the batch of 2.
    """

    n_users: int = 31
    n_items: int = 26
    n_pairs: int = 152
    batch_size: int = 50
    negatives: int = 9
    shared: bool = True
    d: int = 12
    h: int = 9
    k: int = 7
    projector: str = "mlp"
    users: Literal["follow", "frozen"] = "follow"
    groups: Literal["item", "user", "multi", "both"] = "item"  # both: a table of items and one of users, side by side
    n_groups: int = 4
    rule: str = "entropy"
    strength: float = 0.4
    refresh: int = 2
    average: float = 0.3
    method: str = "finite_difference"
    unroll: str = "sgd"
    xi: float = 0.1
    eps: float = 0.05
    inner_steps: int = 1
    outer: Literal["same", "next", "other"] = "same"
    weighs_outer: bool = False
    train_theta: bool = True
    train_z: bool = True
    ids: Literal["", "bpr", "info_nce"] = ""  # id embeddings in Z's place, on this loss
    layers: int = 2

    @property
    def balanced_groups(self) -> int:
        """Groups of all balanced tables."""
        return self.n_groups + USER_GROUPS * (self.groups == "both")

    @property
    def n_rows(self) -> int:
        """Rows of Z."""
        return self.n_items + self.n_users * (self.ids != "")


CASES: dict[str, Case] = {
    "plain": Case(),
    "pool before the first layer": Case(d=5, h=13),
    "k divides by 4": Case(k=8, h=8, n_items=24, n_users=32),
    "fewer rows than 4 full shards": Case(n_items=9, n_users=33, n_pairs=102, negatives=5),  # rank 3 of 4 has none
    "linear projector": Case(projector="linear"),
    "negatives per example": Case(shared=False),
    "several groups or none": Case(groups="multi"),
    "user groups": Case(groups="user", rule="group_dro"),
    "groups of items and of users": Case(groups="both"),
    "frozen users": Case(users="frozen"),
    "frozen users, wide hidden layer": Case(users="frozen", d=5, h=13, shared=False),
    "exact": Case(method="exact"),
    "exact, pool before the first layer": Case(method="exact", d=5, h=13, rule="mgda"),
    "exact, frozen users": Case(method="exact", users="frozen"),
    "penalty": Case(method="penalty", outer="other"),
    "penalty, frozen users, pool before the first layer": Case(method="penalty", users="frozen", d=5, h=13),
    "unrolled Adam": Case(unroll="adam", outer="next"),
    "two inner steps": Case(inner_steps=2, refresh=1),
    "outer data: the next batch": Case(outer="next"),
    "outer data: pairs of its own": Case(outer="other", groups="multi", rule="entropy_mgda"),
    "meta, on both levels' pairs": Case(outer="other", rule="meta", weighs_outer=True),
    "first order": Case(xi=0.0, rule="uniform"),
    "plain loss": Case(strength=0.0),
    "theta only": Case(train_z=False, rule="reweight"),
    "Z only": Case(train_theta=False),
    "MF, BPR": Case(ids="bpr", layers=0, strength=0.0, train_theta=False),
    "LightGCN, BPR": Case(ids="bpr", shared=False, strength=0.0, train_theta=False),
    "LightGCN, InfoNCE": Case(ids="info_nce", strength=0.0, train_theta=False),
}  # fmt: skip
SINGLE = (
    "plain", "pool before the first layer", "linear projector", "negatives per example", "several groups or none",
    "user groups", "frozen users", "exact", "outer data: the next batch",
)  # fmt: skip
RUNS = [(name, "float64") for name in CASES] + [(name, "float32") for name in SINGLE]


@dataclass(frozen=True, slots=True)
class Data:
    """The global data of a case; the same in every process."""

    user: Tensor
    item: Tensor
    outer: Tensor  # bool, pairs that belong to the outer level where it has its own
    test_user: Tensor
    test_item: Tensor
    z: Tensor  # float64 [N, d]; id embeddings [N + U, k]
    entity_index: Tensor
    group_index: Tensor


def make_data(case: Case) -> Data:
    """Random pairs that leave the last 3 users and items alone, with one test pair in ten."""
    rng = torch.Generator().manual_seed(7)
    u, n = case.n_users, case.n_items
    active = (u - 3) * (n - 3)
    chosen = torch.randperm(active, generator=rng)[: case.n_pairs + 40]
    user, item = chosen // (n - 3), chosen % (n - 3)
    e = case.n_pairs
    entities = u if case.groups == "user" else n
    if case.groups == "multi":  # none, one or two of the groups for each item
        label = torch.randint(0, case.n_groups, (n, 2), generator=rng)
        keep = torch.rand(n, 2, generator=rng) < 0.6
        keep[:, 1] &= label[:, 0] != label[:, 1]
        keep &= label != case.n_groups - 1
        keep[-3:], label[-3:, 0], label[-3:, 1] = True, case.n_groups - 1, 0
        entity, slot = torch.nonzero(keep, as_tuple=True)
        group = label[entity, slot]
    else:
        entity = torch.arange(entities)
        group = torch.randint(0, case.n_groups - 1, (entities,), generator=rng)
        group[-3:] = case.n_groups - 1
    z = torch.randn(case.n_rows, case.k if case.ids else case.d, generator=rng, dtype=torch.float64)
    outer = torch.rand(e, generator=rng) < 0.3
    return Data(user[:e], item[:e], outer, user[e:], item[e:], F.normalize(z, dim=1), entity, group)


def shard(rows: Tensor, comm: Comm) -> Tensor:
    """This worker's rows, padded with zeros."""
    start, stop = row_range(len(rows), comm.size, comm.rank)
    out = rows.new_zeros(shard_rows(len(rows), comm.size), rows.shape[1])
    out[: stop - start] = rows[start:stop]
    return out


def gather(rows: Tensor, n: int, comm: Comm) -> Tensor:
    """All rows of all workers, without the padding."""
    return torch.cat(comm.all_gather(rows, "test"))[:n].clone()


InnerLevel = tuple[Theta, Places, torch.optim.Optimizer | None]
"""theta as leaves, where its gradient comes from, and what moves it."""


def under_ddp(model: Backbone, theta: Theta, comm: Comm, inner_group: dist.ProcessGroup | None) -> InnerLevel:
    """The default strategy."""
    module = InnerLoss(theta, model)
    adam = torch.optim.Adam(module.parameters(), RATE) if theta else None
    return module.theta, Workers(comm, module, inner_group), adam


def adam_of(z: Tensor) -> torch.optim.Optimizer:
    """Z's optimiser unless told."""
    return torch.optim.Adam([z], RATE)


def run_case(
    case: Case,
    dtype: torch.dtype,
    comm: Comm,
    inner_group: dist.ProcessGroup | None,
    inner_level: Callable[..., InnerLevel] = under_ddp,
    z_adam: Callable[[Tensor], torch.optim.Optimizer] = adam_of,
) -> dict[str, Any]:
    """Five steps, then a ranking. Per step a record, `sent` (bytes by tag) and `sizes` (examples of each slice)."""
    data = make_data(case)
    own = case.outer == "other"
    inner = ~data.outer if own else torch.ones_like(data.outer)

    def sampler(pairs: Tensor, batch_size: int, stream: str) -> BatchSampler:
        return BatchSampler(
            data.user[pairs], data.item[pairs], case.n_items, batch_size=batch_size, negatives=case.negatives,
            shared=case.shared, known=Csr.of(data.user, data.item, case.n_users), seed=3, stream=stream,
            rank=comm.rank, workers=comm.size,
        )  # fmt: skip

    batches = sampler(inner, case.batch_size, "train")
    outer_batches = sampler(data.outer, 17, "outer")
    graph = build_graph(data.user[inner], data.item[inner], case.n_users, case.n_items, dtype)
    z = shard(data.z.to(dtype), comm)
    model: Backbone = AlphaRec(graph, Sharded(comm), tau=0.3)
    first = init_theta(case.d, case.h, case.k, case.projector, 5, dtype)
    if case.ids:
        model, first = IdEmbeddings(graph, Sharded(comm), case.layers, case.ids, tau=0.3, l2=0.01), {}
    elif case.users == "frozen" and isinstance(model, AlphaRec):
        model = replace(model, user_inputs=model.pooled(z))
    theta, places, theta_adam = inner_level(model, first, comm, inner_group)
    entity: Literal["item", "user"] = "user" if case.groups == "user" else "item"
    n_entities = case.n_users if entity == "user" else case.n_items
    membership = Membership.of(entity, data.entity_index, data.group_index, n_entities, case.n_groups)
    if case.groups == "both":
        users = torch.arange(case.n_users)
        of_users = Membership.of("user", users, users % USER_GROUPS, case.n_users, USER_GROUPS)
        membership = Membership.side_by_side([membership, of_users])
    step = BilevelStep(
        model=model,
        outer_model=model,
        theta=theta,
        z=z.requires_grad_(),
        places=places,
        theta_optimizer=theta_adam if case.train_theta else None,
        z_optimizer=z_adam(z) if case.train_z else None,
        balance=GroupBalance(
            make_rule(case.rule),
            strength=case.strength,
            refresh_every=case.refresh,
            average=case.average,
            catalogue_sizes=membership.sizes,
        ),
        membership=membership,
        method=case.method,
        unroll=case.unroll,
        xi=case.xi,
        eps=case.eps,
        inner_steps=case.inner_steps,
        weighs_outer=case.weighs_outer,
        penalty=Penalty(theta, 3.0, torch.optim.Adam, RATE) if case.method == "penalty" else None,
    )
    steps = []
    for count in range(STEPS):
        batch = batches.batch(0, FIRST + count)

        def outer_batch(count: int = count, batch: Batch = batch) -> Batch:
            if case.outer == "same":
                return batch
            return outer_batches.batch(0, count) if own else batches.batch(0, FIRST + count + 1)

        comm.sent.clear()
        record = step(count, batch, outer_batch)
        sent = dict(comm.sent)
        entry: dict[str, Any] = {
            "loss": comm.all_reduce_sum(record.loss, "test"),
            "v_norm": torch.tensor(record.v_norm, dtype=torch.float64),
            "e": torch.tensor(record.e, dtype=torch.float64),
            "group_losses": record.group_losses,
            "gram": record.gram,
            "weights": record.weights,
            "g_theta": _flat(record.g_theta),
        }
        if record.g_z is not None and record.outer_loss is not None:
            entry["outer_loss"] = comm.all_reduce_sum(record.outer_loss, "test")
            entry["g_z"] = gather(record.g_z, case.n_rows, comm)
        values = {name: value.detach().clone() for name, value in entry.items() if value is not None}
        steps.append({"values": values, "sent": sent, "sizes": [b - a for a, b in batch.slices]})
    state = {"theta": _flat(step.theta or {"": torch.zeros(0)}), "Z": gather(z.detach(), case.n_rows, comm)}
    padding = z.detach()[row_range(case.n_rows, comm.size, comm.rank)[1] - comm.rank * len(z) :]
    return {"steps": steps, "state": state, "padding": padding.clone(), **rank_and_measure(case, data, step, comm)}


@torch.no_grad()
def rank_and_measure(case: Case, data: Data, step: BilevelStep, comm: Comm) -> dict[str, Any]:
    """Top-k lists of the trained state, those of this worker's users, and the metrics over all workers."""
    user_rows, item_rows = step.model.ranking_rows(step.theta, step.z)
    test = Csr.of(data.test_user, data.test_item, case.n_users)
    users = torch.nonzero(test.indptr.diff() > 0).squeeze(1)
    items, scores, mine = full_ranking(
        user_rows, item_rows, n_users=case.n_users, n_items=case.n_items,
        known=Csr.of(data.user, data.item, case.n_users), users=users, k=K, comm=comm, block=8,
    )  # fmt: skip
    labels = tuple(str(g) for g in range(case.n_groups))
    entity: Literal["item", "user"] = "user" if case.groups == "user" else "item"
    table = GroupMembership("group", entity, labels, data.entity_index, data.group_index)
    result = evaluate(items, mine, test, [table], n_items=case.n_items, comm=comm)
    return {"lists": {"items": items, "scores": scores, "users": mine}, "metrics": result.to_dict()}


def run_all(comm: Comm, inner_group: dist.ProcessGroup | None) -> dict[tuple[str, str], dict[str, Any]]:
    """Every case in float64 and some in float32, by (case, dtype)."""
    return {(name, dtype): run_case(CASES[name], DTYPES[dtype], comm, inner_group) for name, dtype in RUNS}


def worker(rank: int, size: int, folder: str) -> None:
    """Entry point of a spawned process; writes `<folder>/<rank>.pt`."""
    torch.set_num_threads(1)
    limit = timedelta(seconds=120)  # a collective that not all workers join fails and does not hang
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=size, timeout=limit)
    results = run_all(Comm(dist.group.WORLD), dist.new_group())
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _flat(theta: dict[str, Tensor]) -> Tensor | None:
    return torch.cat([theta[name].detach().reshape(-1) for name in sorted(theta)]) if theta else None
