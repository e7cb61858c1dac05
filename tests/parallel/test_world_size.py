"""Nothing that a run computes may depend on the number of workers; and each worker sends what docs/bytes.md says.

W = 2, 3, 4 are spawned once each for all cases of `world.py`, W = 1 runs in this process.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
import world
from byte_formulas import step_bytes
from torch import Tensor
from world import CASES, RUNS, SINGLE, Case

from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sampler import slices_of

Results = dict[tuple[str, str], dict[str, Any]]

SIZES = (2, 3, 4)
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
# Rules that solve for the weights amplify the rounding of a float32 Gram matrix by its condition (about 30 here, for
# a perturbation made on purpose as well); given one Gram matrix the weights are the same to the last bit.
TOLERANCE_WEIGHTS = {"float64": 1e-10, "float32": 1e-4}
ELEMENT = {"float64": 8, "float32": 4}
ALWAYS = {"loss", "v_norm", "e", "weights"}
SYNCHRONOUS = ("group_losses", "gram", "weights", "g_theta", "v_norm", "e")


@pytest.fixture(scope="module")
def alone() -> Results:
    return world.run_all(Comm(), None)


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"W{size}")
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """The results of every rank of a world."""
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    mp.start_processes(world.worker, (request.param, str(folder)), nprocs=request.param, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(request.param)]


def distance(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||, 0 where both are zero."""
    assert a.shape == b.shape and a.dtype == b.dtype
    gap = float((a.double() - b.double()).norm())
    return gap / float(b.double().norm()) if gap else 0.0


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_steps_do_not_depend_on_the_number_of_workers(
    name: str, dtype: str, alone: Results, together: list[Results]
) -> None:
    reference, result = alone[name, dtype], together[0][name, dtype]
    far: dict[str, float] = {}
    for count, (a, b) in enumerate(zip(result["steps"], reference["steps"], strict=True)):
        assert a["values"].keys() == b["values"].keys()
        far |= {f"{key} of step {count}": distance(a["values"][key], b["values"][key]) for key in a["values"]}
    far |= {key: distance(result["state"][key], reference["state"][key]) for key in reference["state"]}

    def allowed(key: str) -> float:
        return (TOLERANCE_WEIGHTS if key.startswith("weights") else TOLERANCE)[dtype]

    assert {key: value for key, value in far.items() if not value <= allowed(key)} == {}


@pytest.mark.parametrize("name", list(CASES))
def test_lists_and_metrics_do_not_depend_on_the_number_of_workers(
    name: str, alone: Results, together: list[Results]
) -> None:
    reference, ranks = alone[name, "float64"], [r[name, "float64"] for r in together]
    users = torch.cat([r["lists"]["users"] for r in ranks])
    items = torch.cat([r["lists"]["items"] for r in ranks])
    assert torch.equal(users, reference["lists"]["users"])
    assert torch.equal(items, reference["lists"]["items"])
    for rank in ranks:
        assert_same_numbers(rank["metrics"], reference["metrics"])


@pytest.mark.parametrize("name", SINGLE)
def test_scores_in_float32(name: str, alone: Results, together: list[Results]) -> None:
    """Lists may swap two items whose scores agree to rounding; the scores at each place may not move."""
    reference, ranks = alone[name, "float32"], [r[name, "float32"] for r in together]
    scores = torch.cat([r["lists"]["scores"] for r in ranks])
    real = reference["lists"]["scores"].isfinite()
    assert torch.equal(scores.isfinite(), real)
    assert distance(scores[real], reference["lists"]["scores"][real]) <= 1e-5


def assert_same_numbers(a: Any, b: Any) -> None:
    if isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in b:
            assert_same_numbers(a[key], b[key])
    elif isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-10, abs=1e-15)
    else:
        assert a == b


def test_replicated_state_is_the_same_bit_for_bit_on_every_rank(together: list[Results]) -> None:
    """Projector, weights, v and e are not sent after they are computed, so the least difference would grow."""
    for key, first in together[0].items():
        for other in together[1:]:
            assert torch.equal(first["state"]["theta"], other[key]["state"]["theta"])
            for a, b in zip(first["steps"], other[key]["steps"], strict=True):
                for name in a["values"].keys() & set(SYNCHRONOUS):
                    assert torch.equal(a["values"][name], b["values"][name]), (key, name)


def test_padding_stays_zero(together: list[Results]) -> None:
    padded = 0
    for rank in together:
        for result in rank.values():
            padded += len(result["padding"])
            assert not result["padding"].any()
    assert padded > 0 or len(together) == 2  # 26 and 24 items divide by two


def test_cases_are_as_awkward_as_they_say(alone: Results, together: list[Results]) -> None:
    """Slices without examples, groups without examples, all five quantities of each case present."""
    size = len(together)
    for (name, dtype), result in together[0].items():
        sizes = [step["sizes"] for step in result["steps"]]
        assert all(len(s) == size for s in sizes)
        if name == "plain" and size > 2:
            assert any(0 in s for s in sizes)
        if CASES[name].strength > 0:
            assert any((step["values"]["weights"] == 0).any() for step in result["steps"]), name
        present = set().union(*(step["values"].keys() for step in result["steps"]))
        assert present >= ALWAYS - (set() if CASES[name].strength else {"weights"}), (name, dtype)
        assert ("g_z" in present) == CASES[name].train_z
        assert len(alone[name, dtype]["steps"]) == world.STEPS


# Bytes


def outer_examples(case: Case, count: int, size: int) -> list[int]:
    """Slices of the outer batch of a step, derived anew from the counts of pairs."""
    data = world.make_data(case)
    if case.outer == "other":
        pairs, batch, at = int(data.outer.sum()), 17, count
    else:
        pairs, batch, at = case.n_pairs, case.batch_size, world.FIRST + count + (case.outer == "next")
    at %= -(-pairs // batch)
    return [stop - start for start, stop in slices_of(min(batch, pairs - at * batch), size)]


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_each_step_sends_what_the_formulas_say(name: str, dtype: str, together: list[Results]) -> None:
    size, case = len(together), CASES[name]
    for rank, results in enumerate(together):
        for count, step in enumerate(results[name, dtype]["steps"]):
            outer = outer_examples(case, count, size)
            expected = step_bytes(case, size, rank, step["sizes"], count, ELEMENT[dtype], outer)
            assert {tag: n for tag, n in step["sent"].items() if n} == expected, (rank, count)


def test_one_worker_sends_nothing(alone: Results) -> None:
    for result in alone.values():
        assert all(not any(step["sent"].values()) for step in result["steps"])


def test_frozen_users_pool_nothing(together: list[Results]) -> None:
    """With the formulas: rows of `nodes` and `batch` are k wide, the other tags are as large as theta or G."""
    for name, case in CASES.items():
        if case.users == "frozen":
            for results in together:
                for step in results[name, "float64"]["steps"]:
                    assert set(step["sent"]) <= {"nodes", "batch", "gram", "theta", "v"}


def test_rows_of_z_are_in_no_exchange() -> None:
    """The formulas, which the test above holds against what was sent, do not know d once it is above h."""
    narrow, wide = Case(d=12, h=9), Case(d=4096, h=9)
    for rank in range(4):
        a, b = (step_bytes(case, 4, rank, [13, 12, 13, 12], 0, 4, [13, 12, 13, 12]) for case in (narrow, wide))
        assert all(a[tag] == b[tag] for tag in ("pool", "nodes", "batch"))
    frozen, wide = Case(d=5, h=13, users="frozen"), Case(d=4096, h=13, users="frozen")
    a, b = (step_bytes(case, 4, 1, [13, 12, 13, 12], 0, 4, [13, 12, 13, 12]) for case in (frozen, wide))
    assert "pool" not in b and all(a[tag] == b[tag] for tag in ("nodes", "batch"))
