"""How long training goes on and when it stops."""

from __future__ import annotations

import re
from typing import Literal

from bifair_dist.errors import UserError
from bifair_dist.settings import Settings, setting
from bifair_dist.training.methods.method import Method

METHODS: dict[str, type[Method]] = {}
"""By name; filled by training/methods/registry.py."""


class TrainingSettings(Settings):
    """Training run: method, batches, epochs, early stopping, where the run folder goes."""

    method: str = setting(
        "bifair",
        "what is trained, on which loss",
        why="the others are what it is compared with (docs/baselines.md)",
    )
    strategy: Literal["ddp", "deepspeed"] = setting(
        "ddp",
        "how workers share the projector: DistributedDataParallel, or a DeepSpeed engine with ZeRO (--deepspeed.*)",
        why="the projector is small; DeepSpeed is for catalogues whose Adam moments of Z do not fit the GPU",
    )
    batch_size: int = setting(
        4096, "positives per step, over all workers", unit="pairs", why="AlphaRec's", was="batch", ge=1
    )
    precision: Literal["full", "bf16"] = setting(
        "full",
        "number format of the projector's products in the inner and outer passes: that of --model.dtype, or "
        "bfloat16; perturbed passes, weights and everything else are full",
        why="bf16 is coarser and pays on GPUs only",
    )
    theta_lr: float = setting(
        1e-3,
        "Adam learning rate of the projector, or of id embeddings, in the base phase",
        unit="per step",
        why="twice AlphaRec's, for fewer epochs",
        gt=0,
    )
    max_epochs: int = setting(
        200,
        "most epochs of the base phase (projector alone)",
        unit="epochs",
        why="patience stops it sooner",
        ge=0,
    )
    bilevel_epochs: int = setting(
        100, "most epochs of the bi-level phase", unit="epochs", why="patience stops it sooner", ge=0
    )
    eval_every: int = setting(5, "epochs between validations", unit="epochs", why="AlphaRec's", ge=1)
    patience: int = setting(
        5,
        "validations without a better value after which a phase stops",
        unit="validations",
        why="one or two flat ones are noise",
        ge=1,
    )
    average: float = setting(
        5.0,
        "window of the running average of the parameters that is validated and kept; 0: the last step's",
        unit="epochs",
        why="steadier and better on every set tried, for one more copy of Z",
        ge=0,
    )
    metric: str = setting(
        "recall@20",
        "validation metric that picks the best epoch: recall, ndcg or hit_ratio, @ k",
        unit="name",
        why="what AlphaRec selects on",
    )
    k: int = setting(20, "length of the recommendation lists", unit="items", why="the usual one", ge=1)
    seed: int = setting(0, "seed of initial weights, batches and negatives", why="one seed gives one result", ge=0)
    output: str = setting("runs", "folder that run folders are made in", unit="path", why="below the current folder")
    run_name: str = setting(
        "",
        "name of the run folder; empty: method, dataset and time",
        unit="name",
        why="naming it lets a run be resumed",
    )
    report: bool = setting(
        True, "write report.html and report.json at the end", why="a page to read; jobs/report.py writes it later, too"
    )
    test: bool = setting(
        True,
        "measure the kept state on the test pairs at the end",
        why="trials of a sweep do not: test figures that were seen are soon chosen by",
    )
    warm_start: str = setting(
        "",
        "run folder whose projector and Z to start from, which skips the base phase",
        unit="path",
        why="several runs can share one base phase",
    )

    @property
    def id_embeddings(self) -> bool:
        """Whether the method trains a free vector for every item and user, and no projector."""
        return METHODS[self.method].id_embeddings

    @property
    def balances(self) -> bool:
        """Whether the method has a phase that balances groups."""
        return bool(METHODS[self.method].fair)

    @property
    def balances_z(self) -> bool:
        """Whether one of these phases moves Z."""
        return any(phase.train_z for phase in METHODS[self.method].fair)

    def check(self) -> None:
        """The metric must be one that evaluation at k computes."""
        if not re.fullmatch(rf"(recall|ndcg|hit_ratio)@{self.k}", self.metric):
            raise UserError(
                f"training.metric must be recall@{self.k}, ndcg@{self.k} or hit_ratio@{self.k} (training.k = {self.k})"
                f", not {self.metric!r}"
            )
