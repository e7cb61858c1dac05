"""`jobs/rerank.py`: a run's lists re-ranked; the strength chosen on validation, its lists measured on test once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.errors import UserError, did_you_mean
from bifair_dist.evaluation.bootstrap import replicated_figures
from bifair_dist.evaluation.choice import Figures, choose
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.hypervolume import hypervolume
from bifair_dist.evaluation.metrics import EvaluationResult, evaluate
from bifair_dist.evaluation.scan import product_topk
from bifair_dist.experiments.paired import change_interval
from bifair_dist.files import writing
from bifair_dist.parallel.comm import Comm
from bifair_dist.report.evaluated import memberships, wanted_pairs
from bifair_dist.rerank.calibrated import calibrated
from bifair_dist.rerank.candidates import Candidates, candidates, shares
from bifair_dist.rerank.max_min import max_min
from bifair_dist.rerank.settings import RerankSettings
from bifair_dist.runs import Run
from bifair_dist.runs.text import number
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.settings import load
from bifair_dist.training.settings import TrainSettings

KNOWN = {"valid": ("train",), "test": ("train", "valid")}
"""What users have, and is not ranked, when a split is to be found again."""


@dataclass(frozen=True, slots=True)
class Split:
    """What is to be found again, by whom, and the candidates."""

    users: Tensor
    wanted: Csr
    found: Candidates


def rerank(settings: RerankSettings) -> dict[str, Any]:
    """Choose, measure, print, write; returns what was printed. One process. Raises `UserError`."""
    run = Run.finished_in(settings.run, "run")
    if settings.output and Path(settings.output).suffix != ".parquet":
        raise UserError(f"output: {settings.output}: end it in .parquet")
    dataset = read_dataset(load(TrainSettings(), run.config_file).data.dataset)
    tables = memberships(dataset)
    table = _table(tables, settings.group)
    if not settings.strengths or any(not 0 <= s <= 1 for s in settings.strengths):
        raise UserError(f"strengths: {settings.strengths}; give numbers from 0 to 1")
    model = recommender_of(run.folder)
    valid, test = (_split(dataset, name, (model.users, model.items), table, settings) for name in ("valid", "test"))
    measured: dict[float, EvaluationResult] = {}
    print(f"{settings.method}, {table.name}, {run.folder.name}\n{'validation':<12}  recall    ndcg      CV     MIN")
    for strength in (0.0, *sorted(set(settings.strengths) - {0.0})):
        lists = _lists(valid, dataset, table, strength, settings)
        measured[strength] = _measured(valid, dataset, tables, lists, settings)
        row = "  ".join(number(value) for value in _figures(measured[strength], table.name).values())
        print(f"{strength:<12}  {row}", flush=True)
    strengths = list(measured)
    figures = [_choice(measured[strength], table.name) for strength in strengths]
    area = hypervolume([(f.recall, f.cvs[0]) for f in figures], (figures[0].recall, figures[0].cvs[0]))
    print(f"hypervolume of the points (recall, CV): {area:.4f}")
    at = choose(figures[0], figures, settings.accuracy_budget)
    chosen = 0.0 if at is None else strengths[at]
    print(
        f"chosen: strength {chosen}"
        if chosen
        else f"no strength is fairer within {100 * settings.accuracy_budget:g} %: the run's own lists are kept"
    )
    of_test = [_lists(test, dataset, table, strength, settings) for strength in (0.0, chosen)]
    before, after = (_measured(test, dataset, tables, part, settings) for part in of_test)
    found = {
        "method": settings.method,
        "group": table.name,
        "strength": chosen,
        "hypervolume": area,
        **_tested(before, after, settings),
    }
    if settings.output:
        _write(of_test[1], test.users, dataset, Path(settings.output))
    return found


def _table(tables: list[GroupMembership], name: str) -> GroupMembership:
    of_items = [t for t in tables if t.entity == "item"]
    if not of_items:
        raise UserError("group: the dataset has no group table of items; prepare it with --groups")
    for table in of_items:
        if table.name == (name or of_items[0].name):
            return table
    names = [t.name for t in of_items]
    raise UserError(f"group: no group table of items {name}{did_you_mean(name, names)}; there are {', '.join(names)}")


def _split(
    dataset: Dataset, name: str, model: tuple[Tensor, Tensor], table: GroupMembership, settings: RerankSettings
) -> Split:
    wanted = wanted_pairs(dataset, name)
    users = torch.nonzero(wanted.counts() > 0).squeeze(1)
    if not len(users):
        raise UserError(f"the dataset has no {name} pairs: nothing to choose or measure by")
    length = min(max(settings.candidates, settings.k), dataset.n_items)
    scores, items = product_topk(model[0][users], model[1], length, _known(dataset, KNOWN[name]).expand(users))
    return Split(users, wanted, candidates(scores, items, table, dataset.n_items))


def _known(dataset: Dataset, splits: tuple[str, ...]) -> Csr:
    parts = [getattr(dataset, split) for split in splits]
    user, item = (torch.cat([torch.from_numpy(getattr(p, side)) for p in parts]) for side in ("user", "item"))
    return Csr.of(user, item, dataset.n_users)


def _lists(split: Split, dataset: Dataset, table: GroupMembership, strength: float, settings: RerankSettings) -> Tensor:
    if settings.method == "max_min":
        pairs = torch.bincount(torch.from_numpy(dataset.train.item).long(), minlength=dataset.n_items)
        demand = pairs.to(torch.float64) @ split.found.membership
        return max_min(split.found, settings.k, strength, demand.clamp_min(1.0) / demand.clamp_min(1.0).sum())
    position, item = _known(dataset, ("train",)).expand(split.users)
    history = torch.zeros(len(split.users), len(table.labels), dtype=torch.float64)
    history.index_add_(0, position, shares(table, dataset.n_items)[item])
    history /= history.sum(1, keepdim=True).clamp_min(1e-12)
    return calibrated(split.found, settings.k, strength, history)


def _measured(
    split: Split, dataset: Dataset, tables: list[GroupMembership], lists: Tensor, settings: RerankSettings
) -> EvaluationResult:
    return evaluate(lists, split.users, split.wanted, tables, n_items=dataset.n_items, comm=Comm(), k=settings.k)


def _figures(result: EvaluationResult, group: str) -> dict[str, float]:
    at = [t.name for t in result.tables].index(group)
    summary = result.summaries[at]
    accuracy = {name: result.accuracy[name] for name in ("recall", "ndcg")}
    return {**accuracy, "cv": float(summary.cv), "min": float(summary.minimum)}


def _choice(result: EvaluationResult, group: str) -> Figures:
    values = _figures(result, group)
    return Figures(values["recall"], values["ndcg"], (values["cv"],))


def _tested(before: EvaluationResult, after: EvaluationResult, settings: RerankSettings) -> dict[str, Any]:
    """Test figures of every table, printed with the changes' paired 95 % intervals over users."""
    draws = [replicated_figures(r, Comm(), seed=0, replicates=settings.replicates) for r in (before, after)]
    print(f"\n{'test':<24}  {'before':>8}  {'after':>8}    change, 95 % interval")
    found: dict[str, Any] = {}
    for table in before.tables:
        first = table is before.tables[0]
        values = [_figures(r, table.name) for r in (before, after)]
        for name in ("recall", "ndcg", "cv", "min") if first else ("cv", "min"):
            of_table = name in ("cv", "min")
            old, new = (d["groups"][table.name][name] if of_table else d[f"{name}@{settings.k}"] for d in draws)
            low, high = change_interval(new / old - 1.0)
            key = f"{table.name} {name}" if of_table else name
            was, now = values[0][name], values[1][name]
            found[key] = {"before": was, "after": now, "interval": [low, high]}
            moved = f"{100 * (now / was - 1):+.1f} %  ({100 * low:+.1f} to {100 * high:+.1f})" if was else "-"
            print(f"{key:<24}  {number(was):>8}  {number(now):>8}    {moved}", flush=True)
    return found


def _write(lists: Tensor, users: Tensor, dataset: Dataset, path: Path) -> None:
    row, place = (lists >= 0).nonzero(as_tuple=True)
    columns = {
        "user_id": dataset.user_ids[users[row].numpy()],
        "rank": (place + 1).numpy(),
        "item_id": dataset.item_ids[lists[row, place].numpy()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as part:
        pq.write_table(pa.table(columns), part)
    print(f"written: {path}", flush=True)
