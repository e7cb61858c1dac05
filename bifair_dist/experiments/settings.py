"""All settings of `jobs/tune.py` (those of a training, and those of the sweep) and of `jobs/study.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.experiments.space import DEFAULT
from bifair_dist.settings import Settings, section, setting
from bifair_dist.training.settings import TrainSettings


class SweepSettings(Settings):
    """The sweep."""

    space: str = setting(DEFAULT, "name of a file in tune_spaces/, or a file of yours", unit="name")
    output: str = setting(
        "sweeps", "folder that sweep folders are made in", unit="path", why="below the current folder"
    )
    name: str = setting(
        "", "name of the sweep folder; empty: space and dataset", unit="name", why="the same command goes on"
    )
    trials: int = setting(0, "how many; 0: what the space says", unit="trials", ge=0)
    minutes: float = setting(0.0, "time after which no trial goes on; 0: no limit", unit="minutes", ge=0)
    search: Literal["", "optuna", "nsga2", "random", "grid"] = setting(
        "", "optuna: TPE; nsga2: accuracy and fairness as two objectives; empty: what the space says"
    )
    scheduler: Literal["asha", "median", "none"] = setting(
        "asha", "which trials to stop early", why="most bad settings show within a few validations"
    )
    grace: int = setting(
        3,
        "validations that every trial gets",
        unit="validations",
        why="the first ones after a warm start are dips and jumps",
        ge=1,
    )
    concurrent: int = setting(0, "trials at a time; 0: as many as fit", unit="trials", ge=0)
    recall_share: float | None = setting(
        None,
        "least share of the baseline's recall and NDCG that a trial's state and the chosen setting keep; sets "
        "--balance.accuracy_budget to what is missing to 1; none: that budget as it is",
        unit="ratio",
        why="one bound for the state that a trial keeps and for the trial that is chosen",
        gt=0,
        le=1,
    )
    confirm: tuple[int, ...] = setting(
        (),
        "seeds with which baseline and best setting are trained again and tested once, with commas; empty: not",
        unit="seeds",
        why="a sweep ends with validation figures; testing is a decision",
    )
    seed: int = setting(0, "seed of the searcher", why="the same trials every time", ge=0)


class TuneSettings(TrainSettings):
    """Settings of every trial, and the section `tune`."""

    tune: SweepSettings = section(SweepSettings)


class StudySettings(Settings):
    """How a study runs; what it compares stands in its file."""

    file: str = setting("", "the study: a YAML file, such as those in jobs/studies", unit="path")
    data: str = setting("datasets", "folder of the prepared datasets that the file names", unit="path")
    output: str = setting("studies", "folder that study folders and the shared runs are made in", unit="path")
    concurrent: int = setting(
        1,
        "trainings at a time, each in a process of its own",
        unit="processes",
        why="as many as there are cores (or GPUs) is faster where memory allows",
        ge=1,
    )
    threads: int = setting(1, "threads of each training on a CPU", unit="threads", why="one core each", ge=1)
    stop_after: float = setting(
        0.0,
        "time after which no training is begun; 0: no limit",
        unit="minutes",
        why="the same command goes on another day",
        ge=0,
    )
    replicates: int = setting(
        500,
        "bootstrap replicates over users and seeds for the paired intervals",
        unit="replicates",
        why="ends of the intervals then stand to about 5 % of their length",
        ge=20,
    )
