"""BiFair from Python, in one process: data in, a trained run out. `import bifair_dist as bd`; `docs/python.md`.

    dataset = bd.prepare("datasets/mine", interactions, items, groups=["genre:8+rest"])
    run = bd.train(dataset)
    run.metrics, run.groups, run.recommend(["17"], k=10), run.similar_items("42")

Tables are pandas DataFrames. Bad input raises `bd.UserError` with one line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.prepare import PrepareOptions, Progress
from bifair_dist.data.prepare import prepare as prepare_folder
from bifair_dist.data.representations import write_representations
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError
from bifair_dist.runs import Metrics, Run, point_folder
from bifair_dist.runs.figures import by_group, headline_figures
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.model_folder import is_model, read_model
from bifair_dist.serving.new_items import with_new_items
from bifair_dist.serving.recommender import Recommender
from bifair_dist.settings import load, override
from bifair_dist.training.settings import TrainSettings

Table = pd.DataFrame


def prepare(
    out: str | Path,
    interactions: Table | str | Path | None = None,
    items: Table | None = None,
    users: Table | None = None,
    *,
    source: str = "generic",
    **options: Any,
) -> Path:
    """Write a dataset folder and return it.

    Args:
        out: the folder, which must not exist.
        interactions: DataFrame of `user_id`, `item_id`[, `rating`][, `timestamp`]; or a folder of raw files in the
            layout `source`; None: the built-in catalogue.
        items: with a DataFrame of interactions: `item_id`, `title`[, ...].
        users: the same of users, `user_id`[, ...]; may be left out.
        source: layout of a folder (`jobs/prepare.py --help` lists them).
        options: fields of `PrepareOptions`: min_rating, k_core, split, seed, groups, require, missing_title.

    Raises `UserError` for bad data; `TypeError` for an option that there is not.
    """
    out, chosen, progress = Path(out), PrepareOptions(**options), Progress(say=print)
    if interactions is None:
        if options:
            raise UserError(f"{next(iter(options))}: the built-in catalogue has its own; give interactions")
        generate_dataset(out)
    elif not isinstance(interactions, Table):
        prepare_folder(source, Path(interactions), out, chosen, progress)
    elif items is None:
        raise UserError("items: missing; give a DataFrame with item_id and title for every item")
    else:
        with tempfile.TemporaryDirectory() as place:
            for name, table in (("interactions", interactions), ("items", items), ("users", users)):
                if table is not None:
                    table.to_parquet(Path(place) / f"{name}.parquet", index=False)
            prepare_folder("generic", Path(place), out, chosen, progress)
    return out


def embed(dataset: str | Path, out: str | Path, vectors: Table | None = None, **settings: Any) -> Path:
    """Write item representations of a dataset and return their folder.

    `vectors`: a DataFrame of `item_id` and `vector` made elsewhere; None: texts are encoded here. `settings`: those of
    `jobs/embed.py`, such as `model`, `template`, `engine` ("sentence-transformers" in this process unless "vllm",
    which starts Ray). Raises `UserError`.
    """
    out = Path(out)
    if vectors is not None:
        rows = vectors.set_index(vectors["item_id"].astype(str))["vector"]
        ids = read_dataset(dataset).item_ids
        missing = [i for i in ids if i not in rows.index]
        if missing or rows.index.has_duplicates:
            what = f"item {missing[0]!r} has no vector" if missing else "an item_id occurs twice"
            raise UserError(f"vectors: {what}; give one row for each item of {dataset}")
        stacked = np.stack([np.asarray(v, np.float32) for v in rows.loc[list(ids)]])
        return write_representations(out, ids, stacked, {"model": "given", **settings}, ordered=True)
    engine = settings.setdefault("engine", "sentence-transformers")
    chosen = override(EmbedSettings(), {"dataset": str(dataset), "output": str(out), **settings}, "bd.embed")
    if engine == "vllm":
        from bifair_dist.embedding.on_ray import embed_catalogue

        return embed_catalogue(chosen)
    from bifair_dist.embedding.job import embed_here

    return embed_here(chosen)


def train(
    dataset: str | Path = "",
    representations: str | Path = "",
    *,
    method: str = "bifair",
    output: str | Path = "runs",
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainedRun:
    """Train, or go on with a run that was cut off, and return it.

    `config`: a YAML file of settings. `settings`: dotted, as on the command line of `jobs/train.py`, and stronger than
    everything else: `{"training.run_name": "first", "balance.group": "genre"}`. Trains in this process unless they say
    otherwise (`{"cluster.launcher": "ray", "cluster.workers": 4}`). Raises `UserError`.
    """
    base = TrainSettings() if config is None else load(TrainSettings(), config)
    named = {"training.method": method, "training.output": str(output), "cluster.launcher": "inline"}
    named |= {"data.dataset": str(dataset)} if dataset else {}
    named |= {"data.representations": str(representations)} if representations else {}
    from bifair_dist.after_training import publish
    from bifair_dist.training.launch import train as launch

    return TrainedRun(launch(override(base, {**named, **(settings or {})}, "bd.train"), finish=publish))


def load_run(folder: str | Path, *, interpolation: float | None = None) -> TrainedRun:
    """A finished run, or a model that `jobs/export.py --format huggingface` wrote.

    `interpolation` in [0, 1]: another state of the run, between AlphaRec's (0) and the fair end (1). It is written as a
    run folder beside the run, `<run>-at-<interpolation>`, in seconds and without training, unless it is there already.
    Raises `UserError`.
    """
    folder = Path(folder).expanduser()
    if interpolation is None:
        if not is_model(folder):
            Run.finished_in(folder, "load_run")
        return TrainedRun(folder)
    if not 0 <= interpolation <= 1:
        raise UserError(f"interpolation: {interpolation:g} is not between 0 (AlphaRec's state) and 1 (the fair end)")
    run = Run.finished_in(folder, "load_run")
    point = point_folder(run, interpolation)
    if point.exists():
        return load_run(point)
    from bifair_dist.training.another_point import write_point

    return TrainedRun(write_point(run, point, interpolation, None))


class TrainedRun:
    """A finished run in `folder`. Everything is read when it is first asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.folder)!r})"

    @cached_property
    def recommender(self) -> Recommender:
        """The vectors in memory, for many calls."""
        return read_model(self.folder) if is_model(self.folder) else recommender_of(self.folder)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as nested dictionaries."""
        return Run(self.folder).config

    @property
    def metrics(self) -> Table:
        """Test figures by name, with columns before, after, change (a share; nan where there was no fair phase)."""
        return _table(headline_figures(self._metrics), ["figure"])

    @property
    def groups(self) -> Table:
        """Recall of every group: table, group, and before, after, change."""
        return _table(by_group(self._metrics), ["table", "group"])

    @property
    def history(self) -> Table:
        """One row for each validation: phase, epoch, step, loss and the accuracy figures."""
        rows = [
            {"phase": v.phase, "epoch": v.epoch, "step": v.step, "loss": v.loss, **v.valid.accuracy}
            for v in Run(self.folder).history
        ]
        return Table(rows)

    @property
    def item_vectors(self) -> Table:
        """item_id, vector [k]: inner products with `user_vectors` are the model's scores."""
        return Table({"item_id": self.recommender.item_ids, "vector": list(self.recommender.items.numpy())})

    @property
    def user_vectors(self) -> Table:
        """user_id, vector [k]."""
        return Table({"user_id": self.recommender.user_ids, "vector": list(self.recommender.users.numpy())})

    def recommend(self, users: Sequence[str] | None = None, k: int = 20, **options: Any) -> Table:
        """Top-k of users (None: all), without what they have: user_id, rank, item_id, title, score.

        `options`: `exclude` and `leave_out` of `Recommender.recommend`. Raises `UserError` for an unknown id.
        """
        return self.recommender.recommend(users, k, **options)

    def recommend_for(self, histories: Sequence[Sequence[str]], k: int = 20, **options: Any) -> Table:
        """The same for users whom the model does not know, by what they have: history, rank, item_id, title, score."""
        return self.recommender.recommend_for(histories, k, **options)

    def similar_items(self, item: str, k: int = 20) -> Table:
        """The k items nearest to `item` in the model's space: rank, item_id, title, score (cosine)."""
        return self.recommender.similar_items(item, k)

    def with_items(self, items: Table) -> Recommender:
        """Lists with further items that training did not see: `recommend`, `recommend_for`, `similar_items`.

        `items`: item_id, title and the other columns of the run's texts; or with `vector`, made by the same encoder.
        Raises `UserError`.
        """
        if is_model(self.folder):
            raise UserError(
                f"{self.folder}: an exported model does not say how texts were encoded; take the run folder"
            )
        return with_new_items(Run(self.folder), self.recommender, items)

    def report(self) -> Path:
        """The fairness report, a page that is written unless it is there; returns its path."""
        run = Run(self.folder)
        if run.report.is_file():
            return run.report
        from bifair_dist.report.report import make_report
        from bifair_dist.report.settings import ReportSettings

        return make_report(override(ReportSettings(), {"runs": (str(self.folder),)}))

    @property
    def _metrics(self) -> Metrics:
        return Run(self.folder).metrics


def _table(rows: Mapping[Any, tuple[float | None, float | None]], names: list[str]) -> Table:
    index = pd.MultiIndex.from_tuples(rows, names=names) if len(names) > 1 else pd.Index(list(rows), name=names[0])
    out = Table(list(rows.values()), index=index, columns=["before", "after"], dtype=float)
    out["change"] = out["after"] / out["before"].where(out["before"] != 0) - 1
    return out
