"""Full ranking against RecBole's full-sort evaluation, and against the bare matrix product.

    python -m venv RB && RB/bin/pip install recbole 'numpy<2' 'pandas<2.2' 'scipy<1.13' 'setuptools<81'
    python benchmarks/ranking.py --recbole-python RB/bin/python --dataset STEAM ML1M --result RESULT.md

2 cores, 2 minutes. Both sides rank with the same factors (64 columns, a truncated SVD of the training matrix), the same
split, the same masks, and must report the same Recall@20 and NDCG@20. RecBole's time is that of `trainer.evaluate`, as
shipped (`eval_batch_size` 4096: scores, so one or two users at a time) and with 2^22; ours is that of the trainer's own
validation (`Evaluator`), with and without its group tables.

The product: `users @ items.T` on N items and 64 columns in blocks of users, into fresh memory, into the same memory,
and in the tiles of `evaluation/scan.py`; each by itself, with nothing done to the scores. Of the U users a part is
taken, every user costs the same. Seconds are the processor's (all threads) and the clock's, medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record, synthetic_pairs
from recbole import ask_recbole, atomic_files
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, Interactions, read_dataset
from bifair_dist.errors import UserError, run_job
from bifair_dist.evaluation.ranking import full_ranking
from bifair_dist.evaluation.scan import ITEMS, TILE
from bifair_dist.parallel.comm import Comm
from bifair_dist.training.evaluator import Evaluator

K, WIDTH = 20, 64
ALLOWED, WANTED = 2.0, 10.0
Seconds = tuple[float, float]


def timed(work: Callable[[], Any], rounds: int) -> Seconds:
    """Processor and clock seconds, medians; one call before is not counted."""
    work()
    found: list[Seconds] = []
    for _ in range(rounds):
        start = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return statistics.median(f[0] for f in found), statistics.median(f[1] for f in found)


def factors(pairs: Interactions, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
    """float32 [U, 64] and [N, 64]: singular vectors of the training matrix, times the roots of the values."""
    torch.manual_seed(0)
    index = torch.stack([torch.from_numpy(pairs.user), torch.from_numpy(pairs.item)])
    matrix = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (n_users, n_items), check_invariants=False)
    left, values, right = torch.svd_lowrank(matrix.coalesce(), WIDTH, niter=4)
    return left * values.sqrt(), right * values.sqrt()


@dataclass(frozen=True, slots=True)
class Fixed:
    """A backbone whose rows are given: what `Evaluator` asks of a model."""

    users: Tensor
    items: Tensor

    def ranking_rows(self, _theta: Any, _z: Any) -> tuple[Tensor, Tensor]:
        """The rows as they are."""
        return self.users, self.items


def theirs(data: Dataset, fixed: Fixed, scores: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """RecBole's figures with `scores` as eval_batch_size."""
    np.savez(
        folder / "factors.npz", users=fixed.users.numpy(), items=fixed.items.numpy(),
        user_ids=np.asarray(data.user_ids, dtype=str), item_ids=np.asarray(data.item_ids, dtype=str),
    )  # fmt: skip
    request = {
        "model": "BPR", "dataset": "data", "threads": args.threads, "factors": str(folder / "factors.npz"),
        "rounds": args.rounds if scores > 2**20 else 1,
        "settings": {
            "data_path": str(folder), "benchmark_filename": ["train", "valid", "test"],
            "load_col": {"inter": ["user_id", "item_id"]}, "checkpoint_dir": str(folder / "saved"),
            "embedding_size": WIDTH, "seed": 0, "use_gpu": False, "state": "WARNING", "show_progress": False,
            "eval_batch_size": scores, "metrics": ["Recall", "NDCG"], "topk": [K], "valid_metric": f"Recall@{K}",
            "metric_decimal_place": 8,
        },
    }  # fmt: skip
    return ask_recbole(args.recbole_python, folder, request, args.threads)


def against_recbole(data: Dataset, args: argparse.Namespace, folder: Path) -> tuple[list[str], list[float], str]:
    """Lines of the table, RecBole's processor time over ours (large batch, as shipped), RecBole's versions."""
    name = data.folder.name
    fixed = Fixed(*factors(data.train, data.n_users, data.n_items))
    evaluator = Evaluator(data, Comm(), K)
    found = evaluator.evaluate(fixed, {}, fixed.items, "test").summary  # type: ignore[arg-type]
    size = f"{found['users']:,} of {data.n_users:,} x {data.n_items:,}"

    def evaluate() -> None:
        evaluator.evaluate(fixed, {}, fixed.items, "test")  # type: ignore[arg-type]

    with_groups, tables = timed(evaluate, args.rounds), len(evaluator.groups)
    evaluator.groups = []
    mine = timed(evaluate, args.rounds)
    lines = [
        row(name, size, "ours", found, mine, mine),
        row(name, size, f"ours, with {tables} group tables", found, with_groups, mine),
    ]
    ratios, versions = list[float](), ""
    for scores in (2**22, 4096):
        other = theirs(data, fixed, scores, args, folder)
        seconds = statistics.median(other["ranking"]), statistics.median(other["ranking_clock"])
        lines.append(
            row(
                name,
                size,
                f"RecBole, eval_batch_size {scores:,}{' (as shipped)' * (scores == 4096)}",
                other["test"],
                seconds,
                mine,
            )
        )
        ratios.append(seconds[0] / mine[0])
        versions = other["versions"]
        for metric in ("recall", "ndcg"):
            if abs(other["test"][f"{metric}@{K}"] - found[f"{metric}@{K}"]) > 1e-4:
                raise UserError(f"{name}: {metric} differs: {other['test']} and {found[f'{metric}@{K}']}")
    return lines, ratios, versions


def row(name: str, size: str, side: str, found: dict[str, Any], seconds: Seconds, mine: Seconds) -> str:
    """A line: figures, milliseconds, and times ours."""
    metrics = " | ".join(f"{found[f'{metric}@{K}']:.5f}" for metric in ("recall", "ndcg"))
    cells = f"{1e3 * seconds[0]:,.0f} | {1e3 * seconds[1]:,.0f} | {seconds[0] / mine[0]:.1f}"
    return f"| {name} | {size} | {side} | {metrics} | {cells} |"


def against_product(args: argparse.Namespace) -> tuple[list[str], float]:
    """Lines of the table, and full ranking over the plain product (processor's seconds)."""
    n_users, n_items, n_pairs = args.product
    rng = torch.Generator().manual_seed(0)
    users, items = (
        torch.nn.functional.normalize(torch.randn(n, WIDTH, generator=rng), dim=1) for n in (n_users, n_items)
    )
    pairs = synthetic_pairs(n_users, n_items, n_pairs)
    known = Csr.of(pairs.user, pairs.item, n_users)
    some = torch.randperm(n_users, generator=rng)[: args.users]
    rows = users[some]
    memory = torch.empty(128, n_items)

    def fresh() -> None:
        for block in rows.split(128):
            block @ items.T

    def same() -> None:
        for block in rows.split(128):
            torch.mm(block, items.T, out=memory[: len(block)])

    def tiles() -> None:
        for block in rows.split(TILE // ITEMS):
            for part in items.split(ITEMS):
                scores = memory.view(-1)[: len(block) * len(part)].view(len(block), len(part))
                torch.mm(block, part.T, out=scores)

    def ranked() -> None:
        full_ranking(users, items, n_users=n_users, n_items=n_items, known=known, users=some, k=K, comm=Comm())

    ways = {
        "product, 128 users a block, fresh memory": fresh,
        "product, 128 users a block, the same memory": same,
        f"product, tiles of {TILE // ITEMS} x {ITEMS:,}": tiles,
        "full ranking, top 20 without known items": ranked,
    }
    found = {name: timed(work, args.rounds) for name, work in ways.items()}
    plain = found["product, 128 users a block, fresh memory"]
    lines = []
    for name, (processor, clock) in found.items():
        rate = 2 * len(some) * n_items * WIDTH / processor / 1e9
        whole = processor * n_users / len(some)
        lines.append(
            f"| {name} | {1e6 * processor / len(some):,.0f} | {1e6 * clock / len(some):,.0f} | {whole:,.0f} | "
            f"{rate:,.0f} | {processor / plain[0]:.2f} |"
        )
    return lines, found["full ranking, top 20 without known items"][0] / plain[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, nargs="*", default=[], help="folders of jobs/prepare.py")
    parser.add_argument("--recbole-python", default="", help="the Python of the environment that has RecBole")
    parser.add_argument("--product", default="100000,200000,2000000", metavar="U,N,E")
    parser.add_argument("--users", type=int, default=2_000, help="users ranked of --product")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", type=Path, help="Markdown file for the record")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    load_before = os.getloadavg()
    args.product = [int(n) for n in args.product.split(",")]
    product, over = against_product(args)
    print("\n".join(product), file=sys.stderr, flush=True)
    table: list[str] = []
    ratios: dict[str, list[float]] = {}
    versions = "not run"
    for dataset in args.dataset:
        with tempfile.TemporaryDirectory() as path:
            atomic_files(dataset.resolve(), Path(path))
            lines, ratios[dataset.name], versions = against_recbole(read_dataset(dataset), args, Path(path))
            print("\n".join(lines), file=sys.stderr, flush=True)
            table += lines
    paths = ["bifair_dist", "benchmarks/ranking.py", "benchmarks/recbole_side.py"]
    verdicts = []
    for place, what in ((1, "RecBole as shipped"), (0, "RecBole with eval_batch_size 2^22")):
        shown = ", ".join(f"{name} {ratio[place]:.1f}" for name, ratio in ratios.items())
        met = ratios and min(ratio[place] for ratio in ratios.values()) >= WANTED
        verdicts.append(
            f"- {what} over ours: {shown or 'not run'}; at least {WANTED:.0f}: {'met' if met else '**missed**'}"
        )
    text = "\n".join(
        [
            "# Full ranking",
            "",
            *record(paths, f"{args.threads} thread(s) for each side, one side at a time", load_before),
            f"- the other side: {versions}",
            "",
            *verdicts,
            f"- full ranking over the plain product: {over:.2f}; within {ALLOWED:.0f}: "
            f"{'met' if over <= ALLOWED else '**missed**'}",
            "",
            "## Against RecBole",
            "",
            f"| data | users ranked x items | side | Recall@{K} | NDCG@{K} | processor, ms | clock, ms | times ours |",
            "|---|---|---|---|---|---|---|---|",
            *table,
            "",
            f"## Against the product, {args.product[0]:,} users x {args.product[1]:,} items x {WIDTH}",
            "",
            f"Measured on {args.users:,} users, known items {args.product[2] // args.product[0]} a user.",
            "",
            "| | processor, µs a user | clock, µs a user | all users, s | GFLOP/s | times the first |",
            "|---|---|---|---|---|---|",
            *product,
        ]
    )
    print(text)
    if args.result:
        args.result.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_job(main)
