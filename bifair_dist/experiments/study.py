"""A study: a list of searches over fixed points; the same command goes on after a cut, and repeats nothing.

1. the reference at each of its points, first seed; the best on validation is the reference from here on
2. the reference with the other seeds, and every other method at each of its points with the first seed; methods that
   balance groups start from the reference's run of the same seed
3. each method's best point on validation with the other seeds
4. test figures of those alone, in the tables and on the page
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.errors import Interrupted, UserError
from bifair_dist.experiments.definition import Data, Method, Study, read_study
from bifair_dist.experiments.local import Local
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.selection import Rule
from bifair_dist.experiments.settings import StudySettings
from bifair_dist.experiments.study_page import tell
from bifair_dist.experiments.trial import Point, Trial, placed
from bifair_dist.runs import Summary
from bifair_dist.settings import override
from bifair_dist.training.inputs import with_data
from bifair_dist.training.settings import TrainSettings


def run_study(settings: StudySettings) -> Path:
    """Run it, or the rest of it; returns the study's folder. Raises `UserError`, `Interrupted`."""
    if not settings.file:
        raise UserError("no study given: --file jobs/studies/smoke.yaml")
    study = read_study(Path(settings.file).expanduser())
    output = Path(settings.output).expanduser().absolute()
    folder = output / study.name
    plan = _Plan(study, Path(settings.data).expanduser().absolute(), output / "runs")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"study folder: {folder}", flush=True)
    local = Local(settings)
    searches: list[Search] = []
    try:
        _train_all(plan, local, searches)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command goes on with the study") from None
    finally:
        if searches:
            tell(study, plan.data, searches, folder, settings.replicates)
    if local.failed:
        raise UserError(f"{len(local.failed)} trainings failed, see above; the tables are without them")
    if local.late:
        raise UserError("time is up (--stop_after); the same command goes on")
    return folder


def _train_all(plan: _Plan, local: Local, searches: list[Search]) -> None:
    """Train in stages; `searches` is filled as it goes, so that a study that is cut off can tell what it has."""
    study, first = plan.study, plan.study.seeds[0]
    reference = study.method(study.reference)
    starts = {data.name: plan.trials(data, "", reference, first, None) for data in study.datasets}
    local.run("reference", [trial for trials in starts.values() for trial in trials])
    bases: dict[str, dict[int, Trial]] = {}
    for data in study.datasets:
        tried = starts[data.name]
        best = plan.search(data, "", reference, tried, None).best() if local.ended(tried) else None
        if best is None:
            continue
        bases[data.name] = own = {s: plan.trial(data, "", reference, best.point, s, None) for s in study.seeds}
        known = own[first].run.metrics.valid
        for group in data.groups:
            searches.append(plan.search(data, group, reference, tried, None, list(own.values())))
            for method in study.methods:
                if method is not reference:
                    trials = plan.trials(data, group, method, first, own[first])
                    balances = trials[0].settings.training.balances
                    searches.append(plan.search(data, group, method, trials, known if balances else None))
    seeds = [trial for own in bases.values() for trial in own.values()]
    local.run("points", [*seeds, *(trial for search in searches for trial in search.tried)])
    for search in searches:
        # Where time ran out, a choice among some of the points would be another choice than among all of them.
        if search.method == reference.name or not local.ended(search.tried):
            continue
        best = search.best()
        if best is not None:
            data, method = plan.named[search.dataset], study.method(search.method)
            ready = {s: base for s, base in bases[data.name].items() if base.finished}
            search.chosen = [plan.trial(data, search.group, method, best.point, s, base) for s, base in ready.items()]
    local.run("seeds", [trial for search in searches for trial in search.chosen])


class _Plan:
    """From the study's words to trainings. Raises `UserError` where a dataset or group table is not there."""

    def __init__(self, study: Study, data: Path, runs: Path) -> None:
        self.study, self.runs = study, runs
        self.named = {part.name: part for part in study.datasets}
        self.data: dict[str, Dataset] = {}
        self._filled: dict[str, dict[str, str]] = {}
        for part in study.datasets:
            self.data[part.name] = read_dataset(data / part.folder)
            for group in part.groups:
                if group not in self.data[part.name].groups:
                    known = ", ".join(self.data[part.name].groups)
                    raise UserError(f"{study.name}: datasets.{part.name}.groups: no table {group}; it has {known}")
        for part in study.datasets:
            given = {"data.dataset": str(data / part.folder), "data.cache": str(data / "cache")}
            if part.representations:
                given["data.representations"] = str(data / part.representations)
            reference = study.method(study.reference)
            full = with_data(override(study.resolved(part, reference, reference.points[0]), given))
            filled = {"data.dataset": full.data.dataset, "data.representations": full.data.representations}
            self._filled[part.name] = {**filled, "data.cache": full.data.cache}

    def search(
        self,
        data: Data,
        group: str,
        method: Method,
        tried: list[Trial],
        base: Summary | None,
        chosen: Sequence[Trial] = (),
    ) -> Search:
        """The search over a method's points; `base`: validation of the reference, None on a plain loss."""
        shown = group or next(iter(self.data[data.name].groups))
        rule = Rule(override(tried[0].settings, {"balance.group": shown}), base, shown)
        return Search(data.name, group, method.name, rule, tried, chosen=list(chosen))

    def trial(self, data: Data, group: str, method: Method, point: Point, seed: int, base: Trial | None) -> Trial:
        """One training; `base` is the reference's run that methods with fair phases start from."""
        settings = self._settings(data, method, point, seed)
        group = group if settings.training.balances else ""
        if group:
            assert base is not None
            balanced = ",".join(data.groups) if method.all_tables else group
            settings = override(settings, {"balance.group": balanced, "training.warm_start": str(base.folder)})
        settings = placed(settings, self.runs, data.name, method.name)
        return Trial(settings, point, data.name, group, method.name)

    def trials(self, data: Data, group: str, method: Method, seed: int, base: Trial | None) -> list[Trial]:
        """A training for each point of the method."""
        return [self.trial(data, group, method, point, seed, base) for point in method.points]

    def _settings(self, data: Data, method: Method, point: Point, seed: int) -> TrainSettings:
        resolved = self.study.resolved(data, method, point)
        one = {"cluster.launcher": "inline"} if resolved.cluster.launcher == "auto" else {}
        return override(resolved, {**self._filled[data.name], **one, "training.seed": seed})
