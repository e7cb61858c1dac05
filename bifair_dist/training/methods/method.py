"""What a method owns: its settings, its phases, the model it trains, what that starts from and what it leaves behind.

Nothing heavy is imported here: a command line is checked before torch is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bifair_dist.errors import UserError
from bifair_dist.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from bifair_dist.data.dataset import Dataset
    from bifair_dist.model.backbone import Backbone
    from bifair_dist.model.graph import Graph
    from bifair_dist.model.projector import Theta
    from bifair_dist.model.unseen import Unseen
    from bifair_dist.parallel.comm import Comm
    from bifair_dist.runs import Run
    from bifair_dist.training.settings import TrainSettings


class FairPhase(NamedTuple):
    """A phase on the fairness-aware loss: its name in logs and files, and which of theta and Z move."""

    name: str
    train_theta: bool
    train_z: bool


class Method(Settings):
    """A method is a component with settings of its own, which become settings of the section `model`.

    `about` is its line in --help, `source` the paper. Every method has a phase `base` on the plain loss; `fair` are
    those after it. `cached`: whether its model has a cached sibling (parallel/cached_step.py). `rows_named` says what
    Z holds. Derive from `OnVectors` or `OnIds`.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    fair: ClassVar[tuple[FairPhase, ...]] = ()
    id_embeddings: ClassVar[bool] = False
    cached: ClassVar[bool] = False
    rows_named: ClassVar[str]

    def check_settings(self, settings: TrainSettings) -> None:
        """Override to refuse settings that this method cannot follow: raise a `UserError`."""

    # -- the model and what it starts from -------------------------------------------------------------------------

    def model(self, settings: TrainSettings, graph: Graph, comm: Comm) -> Backbone:
        """The recommender on one graph, whose rows are shared out over the workers of `comm`."""
        raise NotImplementedError

    def layers(self, settings: TrainSettings) -> int:
        """How often it propagates over the graph, for the plan of memory and bytes."""
        return settings.model.num_layers

    def n_rows(self, dataset: Dataset) -> int:
        """Rows of Z over all workers."""
        raise NotImplementedError

    def vectors(self, settings: TrainSettings) -> Path | None:
        """The folder of the representations that Z starts from; None where it starts at random."""
        raise NotImplementedError

    def first_z(self, settings: TrainSettings, dataset: Dataset, comm: Comm, dtype: Any) -> Tensor:
        """This worker's rows [m, d] of the Z that a run starts from, padded with zeros, on the CPU."""
        raise NotImplementedError

    def first_theta(self, settings: TrainSettings, d: int, dtype: Any) -> Theta:
        """The replicated parameters that a run starts from, by name, on the CPU; Z is `d` wide."""
        raise NotImplementedError

    # -- what a run leaves behind ----------------------------------------------------------------------------------

    def read_z(self, run: Run, dataset: Dataset, dtype: str) -> Tensor:
        """Z of a finished run, all of it."""
        raise NotImplementedError

    def rows_to_write(self, model: Backbone, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """This worker's rows for `user_embeddings/` (None: not written) and for `item_representations/`."""
        raise NotImplementedError

    def unseen(self, model: Backbone, theta: Theta, z: Tensor, pooled_from: Tensor | None) -> Unseen:
        """Vectors of users and items that training did not see. `pooled_from`: where users' inputs stay fixed."""
        raise UserError(f"training.method {self.name} has no formula for users and items that training did not see")
