"""The plan's bytes and collectives are what `Comm` counts in real steps of two gloo workers, from the same settings."""

from __future__ import annotations

import pytest
import torch
import torch.multiprocessing as mp
import two_workers
from two_workers import CASES, INTERVAL, ITEMS, PAIRS, STEPS, USERS, width_of

from benchmarks.catalogue import GROUPS
from bifair_dist.cost import cached
from bifair_dist.cost.traffic import Traffic, step_traffic
from bifair_dist.cost.work import Sizes, Work
from bifair_dist.training.phases import phases_of
from bifair_dist.training.work import work_of


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    mp.start_processes(two_workers.worker, (str(folder),), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", list(CASES))
def test_plan_equals_count(name: str, counted: list[dict]) -> None:
    settings = two_workers.settings_of(name)
    sizes = Sizes(items=ITEMS, users=USERS, pairs=PAIRS, width=width_of(name), groups=GROUPS)
    work = work_of(settings, sizes, phases_of(settings)[-1], 2)
    for rank in range(2):
        for count in range(STEPS):
            sent, calls, nodes = counted[rank][name][count]
            planned = cached_traffic(work, rank, count, nodes) if nodes else step_traffic(work, rank, count)
            assert dict(planned.sent) == sent, (rank, count)
            assert dict(planned.calls) == calls, (rank, count)


def cached_traffic(work: Work, rank: int, count: int, nodes: list[cached.Nodes]) -> Traffic:
    """With a refresh where one is due."""
    assert len(nodes) == cached.batches(work, count)
    planned = cached.step_traffic(work, rank, count, *nodes)
    if count % INTERVAL == 0:
        refresh = cached.refresh_traffic(work, rank, count)
        planned.sent.update(refresh.sent)
        planned.calls.update(refresh.calls)
    return planned


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("cached")])
def test_planned_nodes_are_no_fewer_than_the_counted(name: str, counted: list[dict]) -> None:
    """The plan takes a batch without an item or user twice, shared out evenly; a worker may have more than its part."""
    settings = two_workers.settings_of(name)
    sizes = Sizes(items=ITEMS, users=USERS, pairs=PAIRS, width=width_of(name), groups=GROUPS)
    most = cached.Nodes.most(work_of(settings, sizes, phases_of(settings)[-1], 2))
    for _, _, nodes in counted[0][name]:
        for one in nodes:
            assert sum(one.users) <= sum(most.users) and sum(one.items) <= sum(most.items)


def test_something_was_counted(counted: list[dict]) -> None:
    tags = {name: set().union(*(sent for sent, _, _ in counted[0][name])) for name in CASES}
    assert tags["defaults"] == {"pool", "nodes", "batch", "gram", "theta", "v"}
    assert tags["mf"] == tags["lightgcn"] == {"nodes", "batch"}
    assert "gram" in tags["theta only"] and "gram" not in tags["bifair, ips"]
    assert "pool" not in tags["frozen, linear"] and "v" not in tags["alpharec, float64"]
