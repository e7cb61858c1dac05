"""The same lists, metrics and intervals for any number of workers (gloo), with uneven shards and empty ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from evaluation_problems import Problem, popularity_of, problem
from test_metrics import close

from bifair_dist.evaluation import bootstrap_intervals, evaluate, full_ranking
from bifair_dist.parallel.comm import Comm, row_range, shard_rows

K = 6
CASES: dict[str, dict[str, Any]] = {
    "ties": {"seed": 1, "n_users": 23, "n_items": 31},
    "float": {"seed": 2, "n_users": 26, "n_items": 40, "ties": False},
    "fewer items than k on a rank": {"seed": 3, "n_users": 17, "n_items": 9},
    "ranks without rows": {"seed": 4, "n_users": 5, "n_items": 5},
}


def shard(rows: torch.Tensor, comm: Comm) -> torch.Tensor:
    start, stop = row_range(len(rows), comm.size, comm.rank)
    out = torch.full((shard_rows(len(rows), comm.size), rows.shape[1]), 99.0, dtype=rows.dtype)  # padding would win
    out[: stop - start] = rows[start:stop]
    return out


def run(p: Problem, comm: Comm) -> dict[str, Any]:
    items, scores, users = full_ranking(
        shard(p.user_rows, comm), shard(p.item_rows, comm), n_users=p.n_users, n_items=p.n_items, known=p.known,
        users=p.users, k=K, comm=comm, block=7,
    )  # fmt: skip
    taken = popularity_of(p)
    result = evaluate(items, users, p.test, p.groups, n_items=p.n_items, comm=comm, popularity=taken)
    intervals = bootstrap_intervals(result, comm, seed=5, replicates=40)
    return {"items": items, "scores": scores, "users": users, "metrics": result.to_dict(), "intervals": intervals}


def worker(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=size)
    comm = Comm(dist.group.WORLD)
    torch.save({name: run(problem(**case), comm) for name, case in CASES.items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_number_of_workers_does_not_matter(size: int, tmp_path: Path) -> None:
    mp.start_processes(worker, (size, str(tmp_path)), nprocs=size, start_method="forkserver")
    ranks = [torch.load(tmp_path / f"{r}.pt", weights_only=False) for r in range(size)]
    for name, case in CASES.items():
        p = problem(**case)
        alone = run(p, Comm())
        users = torch.cat([r[name]["users"] for r in ranks])
        assert sorted(users.tolist()) == sorted(p.users.tolist())
        order = [p.users.tolist().index(u) for u in users.tolist()]
        assert torch.equal(torch.cat([r[name]["items"] for r in ranks]), alone["items"][order])
        assert torch.allclose(torch.cat([r[name]["scores"] for r in ranks]), alone["scores"][order], rtol=1e-6)
        for r in ranks:
            close(r[name]["metrics"], alone["metrics"], name)
            for figure in ("average_popularity", "tail_coverage", "gini"):  # from whole numbers: to the last bit
                assert r[name]["metrics"][figure] == alone["metrics"][figure]
            assert (
                r[name]["metrics"]["groups"]["genre"]["exposure_ratio"]
                == alone["metrics"]["groups"]["genre"]["exposure_ratio"]
            )
            close_intervals(r[name]["intervals"], alone["intervals"], name)


def close_intervals(a: Any, b: Any, path: str) -> None:
    if isinstance(b, dict):
        assert set(a) == set(b), path
        for key in b:
            close_intervals(a[key], b[key], f"{path}/{key}")
    else:
        assert a == b if b is None else a == pytest.approx(b, rel=1e-10, abs=1e-14), path
