"""How well items that training never saw are ranked, against random, popular and raw text.

    python -m benchmarks.cold_items --dataset DATASET --work FOLDER [--out FILE]

A tenth of the items is taken out of the dataset before anything else is done; AlphaRec and, from it, BiFair are trained
on the rest with the default settings. Then, for every user who has pairs with items left out, these items alone are
ranked and the user's are looked for: Recall@20 and NDCG@20. An item left out has only its text:

    random              in an order of chance
    popular             by its pairs with the users who are looked at. Nobody knows these in use: an upper mark for
                        whatever ranks all users alike
    raw text            cosine of its vector with the mean of the vectors of the user's training items
    model               by its text's vector (`serving/new_items.py`)
    ... moved           that vector moved as training moved the ten training items nearest in text, on average
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

import bifair_dist as bd
from benchmarks.record import record, table, write
from bifair_dist.api import TrainedRun
from bifair_dist.csr import Csr
from bifair_dist.data.dataset import SPLITS, Dataset, read_dataset
from bifair_dist.data.representations import read_rows
from bifair_dist.data.settings import DataSettings
from bifair_dist.embedding.default import ensure_representations
from bifair_dist.errors import run_job
from bifair_dist.evaluation import bootstrap_intervals, evaluate
from bifair_dist.evaluation.topk import topk
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs import Run

K, SHARE, NEAR = 20, 0.1, 10


@dataclass(frozen=True, slots=True)
class Cold:
    """The dataset without `ids`, text vectors of both sides, and what users want of the items left out."""

    warm: Dataset
    ids: list[str]
    z: Tensor
    z_warm: Tensor
    wanted: Csr


def take_out(whole: Dataset, work: Path, vectors: Path) -> Cold:
    """Leave out a tenth of the items; the rest is split anew, 70/10/20."""
    ids = np.random.default_rng(0).permutation(whole.item_ids)[: round(SHARE * whole.n_items)].tolist()
    pairs = pd.concat([pd.read_parquet(whole.folder / "interactions" / f"{name}.parquet") for name in SPLITS])
    items = pd.read_parquet(whole.folder / "items.parquet")
    out = work / "warm"
    if not out.exists():
        left = pairs["item_id"].isin(ids)
        rest = items[~items["item_id"].isin(ids)]
        bd.prepare(
            out, pairs[~left][["user_id", "item_id"]], rest, k_core=1, groups=["genre:8+rest", "popularity:quintiles"]
        )
    warm = read_dataset(out)
    here = pairs[pairs["item_id"].isin(ids)]
    user = pd.Index(warm.user_ids).get_indexer(pd.Index(here["user_id"]))
    item = pd.Index(ids).get_indexer(pd.Index(here["item_id"]))
    known = user >= 0
    wanted = Csr.of(torch.from_numpy(user[known]).long(), torch.from_numpy(item[known]).long(), warm.n_users)
    texts = torch.from_numpy(read_rows(vectors, whole.item_ids)).float()
    row = pd.Index(whole.item_ids)
    return Cold(
        warm, ids, texts[row.get_indexer(pd.Index(ids))], texts[row.get_indexer(pd.Index(warm.item_ids))], wanted
    )


def trained(cold: Cold, work: Path) -> dict[str, TrainedRun]:
    """AlphaRec, and BiFair from it, on vectors of the warm items alone."""
    given = pd.DataFrame({"item_id": cold.warm.item_ids, "vector": list(cold.z_warm.numpy())})
    vectors = work / "vectors"
    if not vectors.exists():
        bd.embed(cold.warm.folder, vectors, given)
    common = {"tracking.enabled": False, "training.report": False, "balance.group": "genre"}
    runs: dict[str, TrainedRun] = {}
    for method in ("alpharec", "bifair"):
        own = {"training.run_name": method, **({"training.warm_start": str(work / "runs/alpharec")} if runs else {})}
        runs[method] = bd.train(cold.warm.folder, vectors, method=method, output=work / "runs", settings=common | own)
    return runs


def scores_of(cold: Cold, runs: dict[str, TrainedRun]) -> dict[str, Tensor]:
    """Scores [users, cold] of every way to rank the items left out."""
    train = cold.warm.train
    have = Csr.of(torch.from_numpy(train.user).long(), torch.from_numpy(train.item).long(), cold.warm.n_users)
    mean = F.embedding_bag(have.columns.long(), cold.z_warm, have.indptr, mode="mean", include_last_offset=True)
    counts = torch.bincount(cold.wanted.columns.long(), minlength=len(cold.ids)).float()
    found = {
        "random": torch.rand(len(mean), len(cold.ids), generator=torch.Generator().manual_seed(0)),
        "popular": counts.expand(len(mean), -1),
        "raw text": F.normalize(mean, dim=1) @ F.normalize(cold.z, dim=1).T,
    }
    for name, run in runs.items():
        model = run.recommender
        found[name] = model.users @ model.unseen.items(cold.z).T
        if name == "bifair":
            refined = torch.from_numpy(read_rows(Run(run.folder).item_vectors, cold.warm.item_ids)).float()
            near = (F.normalize(cold.z, dim=1) @ F.normalize(cold.z_warm, dim=1).T).topk(NEAR).indices
            moved = (refined - cold.z_warm)[near].mean(1)
            found["bifair, moved"] = model.users @ model.unseen.items(cold.z + moved).T
    return found


def rows_of_table(cold: Cold, scores: dict[str, Tensor]) -> list[list[str]]:
    """Recall and NDCG of each way, with intervals over users."""
    users = torch.nonzero(cold.wanted.counts() > 0).squeeze(1)
    rows = []
    for name, score in scores.items():
        lists = topk(score[users], K)[1]
        result = evaluate(lists, users, cold.wanted, [], n_items=len(cold.ids), comm=Comm())
        ends = bootstrap_intervals(result, Comm(), seed=0)
        cells = [
            f"{result.accuracy[m]:.4f} ({ends[f'{m}@{K}'][0]:.4f} to {ends[f'{m}@{K}'][1]:.4f})"
            for m in ("recall", "ndcg")
        ]
        rows.append([name, *cells])
    return rows


def main() -> None:
    """Train where nothing is trained yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(os.devnull))
    args = parser.parse_args()
    before = os.getloadavg()
    whole = read_dataset(args.dataset)
    vectors = ensure_representations(whole, DataSettings(dataset=str(args.dataset), cache=str(args.work / "cache")))
    cold = take_out(whole, args.work, vectors)
    shown = rows_of_table(cold, scores_of(cold, trained(cold, args.work)))
    users = int((cold.wanted.counts() > 0).sum())
    pairs = len(cold.wanted.columns)
    out = f"{len(cold.ids)} of {whole.n_items} items left out; {users} users have {pairs} pairs with them"
    head = record(["benchmarks/cold_items.py", "bifair_dist"], "1 thread", before)
    found = table(["ranked by", f"Recall@{K}", f"NDCG@{K}"], shown)
    print(write(args.out, "Items that training never saw", [*head, f"- {args.dataset.name}: {out}"], found))


if __name__ == "__main__":
    run_job(main)
