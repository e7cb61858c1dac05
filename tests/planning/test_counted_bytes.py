"""The plan's bytes and collectives are what `Comm` counts in real steps of two gloo workers, from the same settings."""

from __future__ import annotations

import pytest
import torch
import torch.multiprocessing as mp
import two_workers
from two_workers import CASES, ITEMS, PAIRS, STEPS, USERS, WIDTH

from benchmarks.catalogue import GROUPS
from bifair_dist.planning.traffic import step_traffic
from bifair_dist.planning.work import Sizes, work_of
from bifair_dist.training.phases import phases_of


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    mp.start_processes(two_workers.worker, (str(folder),), nprocs=2, start_method="spawn")
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", list(CASES))
def test_plan_equals_count(name: str, counted: list[dict]) -> None:
    settings = two_workers.settings_of(name)
    sizes = Sizes(items=ITEMS, users=USERS, pairs=PAIRS, width=WIDTH, groups=GROUPS)
    work = work_of(settings, sizes, phases_of(settings)[-1], 2)
    for rank in range(2):
        for count in range(STEPS):
            sent, calls = counted[rank][name][count]
            planned = step_traffic(work, rank, count)
            assert dict(planned.sent) == sent, (rank, count)
            assert dict(planned.calls) == calls, (rank, count)


def test_something_was_counted(counted: list[dict]) -> None:
    tags = {name: set().union(*(sent for sent, _ in counted[0][name])) for name in CASES}
    assert tags["defaults"] == {"pool", "nodes", "batch", "gram", "theta", "v"}
    assert tags["mf"] == tags["lightgcn"] == {"nodes", "batch"}
    assert "gram" in tags["theta only"] and "gram" not in tags["bifair, ips"]
    assert "pool" not in tags["frozen, linear"] and "v" not in tags["alpharec, float64"]
