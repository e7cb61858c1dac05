"""Methods that map given item vectors to the model's space by a projector theta: Z are the vectors themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bifair_dist.errors import UserError
from bifair_dist.training.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from bifair_dist.data.dataset import Dataset
    from bifair_dist.model.backbone import Backbone
    from bifair_dist.model.projector import Theta
    from bifair_dist.parallel.comm import Comm
    from bifair_dist.runs import Run
    from bifair_dist.training.settings import TrainSettings


class OnVectors(Method):
    """Z [N, d] starts from the dataset's representations, theta from the seed; or both from `training.warm_start`."""

    rows_named: ClassVar[str] = "item vectors"

    def check_settings(self, settings: TrainSettings) -> None:
        """An optimiser of Z can only be offloaded where Z is trained."""
        if settings.deepspeed.offload_z_adam and not any(phase.train_z for phase in self.fair):
            raise UserError(
                f"deepspeed.offload_z_adam: --training.method {self.name} trains no Z, so nothing is offloaded"
            )

    def n_rows(self, dataset: Dataset) -> int:
        """N."""
        return dataset.n_items

    def vectors(self, settings: TrainSettings) -> Path | None:
        """The dataset's representations, or those of the run that this one starts from."""
        start = settings.training.warm_start
        return Path(start) / "item_representations" if start else Path(settings.data.representations)

    def first_z(self, settings: TrainSettings, dataset: Dataset, comm: Comm, dtype: Any) -> Tensor:
        """Read from `vectors`."""
        import torch

        from bifair_dist.data.representations import read_rows
        from bifair_dist.parallel.comm import row_range, shard_rows

        start, stop = row_range(dataset.n_items, comm.size, comm.rank)
        folder = self.vectors(settings)
        assert folder is not None
        rows = read_rows(folder, dataset.item_ids, start, stop, settings.model.dtype)
        z = torch.zeros(shard_rows(dataset.n_items, comm.size), rows.shape[1], dtype=dtype)
        z[: stop - start] = torch.from_numpy(rows)
        return z

    def first_theta(self, settings: TrainSettings, d: int, dtype: Any) -> Theta:
        """The projector drawn from the seed, or another run's. Raises `UserError` where that does not fit d."""
        from safetensors.torch import load_file

        from bifair_dist.model.projector import init_theta, widths

        model, start = settings.model, settings.training.warm_start
        if not start:
            return init_theta(d, model.hidden, model.embedding_dim, model.projector, settings.training.seed, dtype)
        theta = {name: t.to(dtype) for name, t in load_file(Path(start) / "projector.safetensors").items()}
        if (takes := widths(theta)[0]) != d:
            raise UserError(f"{start}: its projector takes {takes} columns, the representations have {d}")
        return theta

    def read_z(self, run: Run, dataset: Dataset, dtype: str) -> Tensor:
        """Z [N, d]."""
        import torch

        from bifair_dist.data.representations import read_rows

        return torch.from_numpy(read_rows(run.item_vectors, dataset.item_ids, dtype=dtype))

    def rows_to_write(self, model: Backbone, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """Users have no vectors of their own."""
        return None, z
