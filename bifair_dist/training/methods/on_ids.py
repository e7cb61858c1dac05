"""Methods on id embeddings: Z's place is taken by a free vector for every item and user, E [N + U, k]; no projector.

The items' vectors of a finished run are in `item_representations/`, the users' beside them in `user_embeddings/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bifair_dist.errors import UserError
from bifair_dist.settings import setting
from bifair_dist.training.methods.method import Method

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


class OnIds(Method):
    """E starts at random; the model is that of model/id_embeddings.py."""

    id_embeddings: ClassVar[bool] = True
    rows_named: ClassVar[str] = "vectors of items and users"

    loss: Literal["info_nce", "bpr"] = setting(
        "info_nce",
        "loss of mf and lightgcn: InfoNCE on cosines as for the other methods, or BPR on inner products as published",
        why="so that the models differ and not their losses",
    )
    l2: float = setting(
        1e-4,
        "mf, lightgcn: weight of the squared length of the vectors in a batch",
        unit="per positive",
        why="LightGCN's",
        ge=0,
    )

    def check_settings(self, settings: TrainSettings) -> None:
        """Refuse what is for a projector, for a second phase or for groups."""
        for name, is_so, reason in (
            ("training.strategy", settings.training.strategy != "ddp", "has no projector to share"),
            ("training.warm_start", settings.training.warm_start != "", "has one phase, which would be skipped"),
            ("model.users", settings.model.users != "follow", "has no users' inputs to hold fixed"),
            ("training.precision", settings.training.precision != "full", "has no projector, whose products it is for"),
            ("bilevel.outer_data", settings.bilevel.outer_data != "auto", "has no outer level"),
        ):
            if is_so:
                raise UserError(f"{name}: --training.method {self.name} {reason}")

    def model(self, settings: TrainSettings, graph: Graph, comm: Comm) -> Backbone:
        """MF without layers, else LightGCN."""
        from bifair_dist.model.id_embeddings import IdEmbeddings
        from bifair_dist.parallel.layout import Sharded

        return IdEmbeddings(graph, Sharded(comm), self.layers(settings), self.loss, settings.model.temperature, self.l2)

    def n_rows(self, dataset: Dataset) -> int:
        """N + U."""
        return dataset.n_items + dataset.n_users

    def vectors(self, settings: TrainSettings) -> Path | None:
        """None are read."""
        return None

    def first_z(self, settings: TrainSettings, dataset: Dataset, comm: Comm, dtype: Any) -> Tensor:
        """Drawn from the seed, the same for every number of workers."""
        from bifair_dist.training.id_rows import first_rows

        return first_rows(
            dataset.n_items, dataset.n_users, settings.model.embedding_dim, comm, settings.training.seed, dtype
        )

    def first_theta(self, settings: TrainSettings, d: int, dtype: Any) -> Theta:
        """None."""
        return {}

    def read_z(self, run: Run, dataset: Dataset, dtype: str) -> Tensor:
        """E [N + U, k]."""
        import torch

        from bifair_dist.data.representations import read_rows

        parts = (run.item_vectors, dataset.item_ids), (run.user_vectors, dataset.user_ids)
        return torch.cat([torch.from_numpy(read_rows(folder, ids, dtype=dtype)) for folder, ids in parts])

    def rows_to_write(self, model: Backbone, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """Both halves of E."""
        return model.own_rows(z)  # type: ignore[attr-defined]

    def unseen(self, model: Backbone, theta: Theta, z: Tensor, pooled_from: Tensor | None) -> Unseen:
        """A new user's own vector is the mean of the items'."""
        from bifair_dist.model.id_embeddings import IdEmbeddings
        from bifair_dist.model.unseen import unseen_of_ids

        assert isinstance(model, IdEmbeddings)
        return unseen_of_ids(model, z)
