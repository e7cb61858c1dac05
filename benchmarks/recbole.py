"""MF and LightGCN with BPR against RecBole's (https://recbole.io): the same split, the same settings, in one run.

    python -m venv RB && RB/bin/pip install recbole 'numpy<2' 'pandas<2.2' 'scipy<1.13' 'setuptools<81'
    python -m benchmarks.recbole --dataset DATASET --recbole-python RB/bin/python --result benchmarks/results/recbole.md

Hardware: 2 cores, about 15 minutes on steam. RecBole is in an environment of its own, because it asks for numpy 1;
`recbole_side.py` runs there. Both rank the whole catalogue without what a user has in train (and validation, for the
test), keep the state with the best validation Recall@20 and stop by it. Seconds are the processor's (all threads), so
that a busy machine does not decide; medians of all epochs, and of three rankings of the test users.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch

from benchmarks.record import record, table, write
from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.representations import write_representations
from bifair_dist.errors import UserError, run_job
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs import Run
from bifair_dist.settings import load, override
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.launch import train
from bifair_dist.training.problem import load_problem
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.trainer import Trainer

MODELS = {"mf": ("BPR", 0.0), "lightgcn": ("LightGCN", 1e-4)}
"""RecBole's name and the weight of the squared length, which RecBole's BPR does not have."""

K, BATCH, WIDTH, LAYERS = 20, 2048, 64, 2
Figures = dict[str, Any]


def atomic_files(dataset: Path, folder: Path) -> None:
    """The split in RecBole's layout: data/data.{train,valid,test}.inter."""
    (folder / "data").mkdir()
    for split in ("train", "valid", "test"):
        table = pd.read_parquet(dataset / "interactions" / f"{split}.parquet", columns=["user_id", "item_id"])
        table.columns = ["user_id:token", "item_id:token"]
        table.to_csv(folder / "data" / f"data.{split}.inter", sep="\t", index=False)


def theirs(method: str, seed: int, args: argparse.Namespace, folder: Path) -> Figures:
    """One training of RecBole's."""
    model, l2 = MODELS[method]
    request = {
        "model": model,
        "dataset": "data",
        "threads": args.threads,
        "settings": {
            "data_path": str(folder),
            "benchmark_filename": ["train", "valid", "test"],
            "load_col": {"inter": ["user_id", "item_id"]},
            "checkpoint_dir": str(folder / "saved"),
            "embedding_size": WIDTH,
            "n_layers": LAYERS,
            "reg_weight": l2,
            "require_pow": True,
            "seed": seed,
            "use_gpu": False,
            "state": "WARNING",
            "show_progress": False,
            "epochs": args.epochs,
            "train_batch_size": BATCH,
            "learning_rate": args.lr,
            "eval_batch_size": 2**22,
            "eval_step": args.eval_every,
            "stopping_step": args.patience,
            "metrics": ["Recall", "NDCG"],
            "topk": [K],
            "valid_metric": f"Recall@{K}",
            "metric_decimal_place": 8,
        },
    }
    found = ask_recbole(args.recbole_python, folder, request, args.threads)
    return {
        "recall": found["test"][f"recall@{K}"],
        "ndcg": found["test"][f"ndcg@{K}"],
        "epochs": len(found["epochs"]),
        "epoch": statistics.median(found["epochs"]),
        "ranking": statistics.median(found["ranking"]),
        "versions": found["versions"],
    }


def ours(method: str, seed: int, args: argparse.Namespace, folder: Path) -> Figures:
    """One training of this project's."""
    changes = {
        "data.dataset": str(args.dataset),
        "data.representations": str(folder / "unused"),
        "training.method": method,
        "model.loss": "bpr",
        "model.num_negatives": 1,
        "model.negative_sampling": "per_example",
        "model.embedding_dim": WIDTH,
        "model.num_layers": LAYERS,
        "model.l2": MODELS[method][1],
        "training.batch_size": BATCH,
        "training.theta_lr": args.lr,
        "training.max_epochs": args.epochs,
        "training.eval_every": args.eval_every,
        "training.patience": args.patience,
        "training.k": K,
        "training.seed": seed,
        "training.output": str(folder),
        "cluster.launcher": "inline",
        "training.run_name": f"{method}-{seed}",
        "cluster.threads": args.threads,
        "tracking.enabled": False,
    }
    vectors = folder / "unused"  # a training wants representations; id embeddings do not read them
    if not vectors.exists():
        ids = read_dataset(args.dataset).item_ids
        write_representations(vectors, ids, np.ones((len(ids), 1), np.float32), {"model": "none"})
    epochs: list[float] = []
    epoch_of = Trainer._epoch

    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        result = epoch_of(*arguments)
        epochs.append(time.process_time() - start)
        return result

    with (
        (folder / "ours.log").open("a") as log,
        contextlib.redirect_stdout(log),
        mock.patch.object(Trainer, "_epoch", timed),
    ):
        run = train(override(TrainSettings(), changes))
    test = json.loads((run / "metrics.json").read_text())["test"]
    problem = load_problem(load(TrainSettings(), run / "config.yaml"), Comm(), torch.device("cpu"))
    evaluator, rows = Evaluator(problem.dataset, Comm(), K), problem.method.read_z(Run(run), problem.dataset, "float32")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        evaluator.evaluate(problem.ranking_model, {}, rows, "test")
        seconds.append(time.process_time() - start)
    return {
        "recall": test[f"recall@{K}"],
        "ndcg": test[f"ndcg@{K}"],
        "epochs": len(epochs),
        "epoch": statistics.median(epochs),
        "ranking": statistics.median(seconds),
    }


def row(name: str, runs: list[Figures]) -> list[object]:
    """Cells of a line: mean and standard deviation over seeds."""

    def cell(key: str, digits: int) -> str:
        values = [r[key] for r in runs]
        spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{digits}f}{spread}"

    digits = {"recall": 4, "ndcg": 4, "epochs": 0, "epoch": 3, "ranking": 3}
    return [name, len(runs), *(cell(key, n) for key, n in digits.items())]


def report(runs: dict[str, list[Figures]], args: argparse.Namespace, load_before: tuple[float, float, float]) -> str:
    """Write the record of the runs so far."""
    threads = f"{args.threads} thread(s) for each side, one side at a time"
    head = ("", "seeds", f"test Recall@{K}", f"NDCG@{K}", "epochs", "processor s per epoch", "to rank the test users")
    return write(
        args.result,
        "MF and LightGCN against RecBole",
        [
            *record(["benchmarks", "bifair_dist"], threads, load_before),
            f"- the other side: {next(iter(runs.values()))[0]['versions']}",
            f"- {args.dataset.name}; BPR, one negative for each positive, {WIDTH} columns, Adam {args.lr:g}, batch",
            f"  {BATCH}, at most {args.epochs} epochs, validation every {args.eval_every}, patience {args.patience};",
            f"  l2 1e-4 for LightGCN, none for MF; LightGCN has {LAYERS} layers; mean and deviation over seeds",
        ],
        table(head, [row(name, found) for name, found in runs.items()]),
    )


def ask_recbole(python: str, folder: Path, request: dict[str, Any], threads: int) -> dict[str, Any]:
    """The answer of recbole_side.py, which runs in RecBole's own environment; files are exchanged in `folder`."""
    question, answer = folder / "request.json", folder / "answer.json"
    question.write_text(json.dumps(request))
    answer.unlink(missing_ok=True)
    command = [python, str(Path(__file__).with_name("recbole_side.py")), str(question), str(answer)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if not answer.is_file():
        raise UserError(f"RecBole's side failed: {done.stderr[-2000:]}")
    return dict(json.loads(answer.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="a folder of jobs/prepare.py")
    parser.add_argument("--recbole-python", required=True, help="the Python of the environment that has RecBole")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=100, help="most epochs")
    parser.add_argument("--eval-every", type=int, default=5, help="epochs between validations")
    parser.add_argument("--patience", type=int, default=5, help="validations without a better one before it stops")
    parser.add_argument("--lr", type=float, default=5e-3, help="Adam's learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", type=Path, default=Path(os.devnull), help="Markdown file for the record")
    args = parser.parse_args()
    args.dataset, load_before = args.dataset.resolve(), os.getloadavg()
    runs: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atomic_files(args.dataset, folder)
        for method in args.models:
            for seed in args.seeds:  # in turns, so that a busy machine slows both
                runs.setdefault(f"{MODELS[method][0]}, RecBole", []).append(theirs(method, seed, args, folder))
                runs.setdefault(f"{method}, ours", []).append(ours(method, seed, args, folder))
                print(f"done: {method}, seed {seed}", file=sys.stderr, flush=True)
                text = report(runs, args, load_before)
    print(text)


if __name__ == "__main__":
    run_job(main)
