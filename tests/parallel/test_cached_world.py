"""A cached step does not depend on the number of workers, and sends what a formula says, whatever the catalogue."""

from __future__ import annotations

from typing import Any

import cached_world as world
import pytest
import torch
import torch.multiprocessing as mp
from cached_world import CASES, INTERVAL, STEPS

from bifair_dist.parallel.comm import Comm

SIZES = (2, 3, 4)
Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def alone() -> Results:
    return world.run_all(Comm(), None)


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"W{size}")
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    size, folder = request.param, tmp_path_factory.mktemp("cached")
    mp.start_processes(world.worker, (size, str(folder)), nprocs=size, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


@pytest.mark.parametrize("name", CASES)
def test_20_steps_with_three_refreshes(name: str, alone: Results, together: list[Results]) -> None:
    """Loss, g_Z, weights and fit of every step, and theta and Z in the end: 1e-10 in float64."""
    wanted = alone[name]
    for got in (rank[name] for rank in together):
        assert len(got["steps"]) == STEPS
        for count, (a, b) in enumerate(zip(got["steps"], wanted["steps"], strict=True)):
            assert a["values"].keys() == b["values"].keys()
            for key, value in b["values"].items():
                assert world.distance(a["values"][key], value) < 1e-10, (count, key)
        assert world.distance(got["theta"], wanted["theta"]) < 1e-10
        assert world.distance(got["Z"], wanted["Z"]) < 1e-10
    assert all(torch.equal(rank[name]["theta"], together[0][name]["theta"]) for rank in together)


def test_something_moved_and_the_fit_is_not_trivial(alone: Results) -> None:
    """The comparison above would be worth little where nothing drifts."""
    for name, result in alone.items():
        fits = [float(step["values"]["fit"]) for step in result["steps"]]
        assert min(fits) < 0.999 and all(fit > 0 for fit in fits), name


FORMULA = [n for n, c in CASES.items() if c.case.method != "exact" and c.case.outer == "same"]


@pytest.mark.parametrize("name", FORMULA)
def test_bytes_between_refreshes_are_the_formula(name: str, together: list[Results]) -> None:
    size, case = len(together), CASES[name]
    gram = case.case.rule == "entropy"
    for rank, results in enumerate(together):
        for count, step in enumerate(results[name]["steps"]):
            if count % INTERVAL == 0 or (count % case.case.refresh == 0 and not gram):
                continue
            groups = case.case.n_groups if count % case.case.refresh == 0 else None
            assert {t: n for t, n in step["sent"].items() if n} == world.bytes_of(case, size, rank, step, groups), count


def test_one_worker_sends_nothing(alone: Results) -> None:
    assert all(not any(step["sent"].values()) for result in alone.values() for step in result["steps"])
