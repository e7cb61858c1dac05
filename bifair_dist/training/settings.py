"""All settings of `jobs/train.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.bilevel.settings import BilevelSettings
from bifair_dist.bilevel.weights.registry import BalanceSettings
from bifair_dist.data.settings import DataSettings
from bifair_dist.errors import UserError
from bifair_dist.model.settings import ModelSettings
from bifair_dist.parallel.settings import DeepSpeedSettings
from bifair_dist.settings import Settings, section
from bifair_dist.tracking_settings import TrackingSettings
from bifair_dist.training.cached_settings import CachedSettings
from bifair_dist.training.checkpoint_settings import CheckpointSettings
from bifair_dist.training.methods.registry import check_foreign, method_of
from bifair_dist.training.training_settings import TrainingSettings
from bifair_dist.workers.settings import ClusterSettings


class TrainSettings(Settings):
    """Settings of a training run, one section for each component."""

    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    cached: CachedSettings = section(CachedSettings)
    bilevel: BilevelSettings = section(BilevelSettings)
    balance: BalanceSettings = section(BalanceSettings)
    training: TrainingSettings = section(TrainingSettings)
    deepspeed: DeepSpeedSettings = section(DeepSpeedSettings)
    checkpoint: CheckpointSettings = section(CheckpointSettings)
    cluster: ClusterSettings = section(ClusterSettings)
    tracking: TrackingSettings = section(TrackingSettings)

    @property
    def outer_data(self) -> Literal["fold", "next", "same"]:
        """`bilevel.outer_data` with `auto` decided."""
        asked = self.bilevel.outer_data
        if asked == "auto":
            return "next" if self.model.propagation == "cached" else "fold"
        return asked

    @property
    def folded(self) -> bool:
        """Whether a share of the training pairs is held out for the outer level, another one in each fair epoch."""
        return self.training.balances and self.outer_data == "fold"

    def check(self) -> None:
        """Refuse what a strategy cannot do, or what would silently do nothing."""
        offload, host_adam = self.deepspeed.offload_z_adam, self.deepspeed.host_adam
        if self.model.propagation == "cached":
            self._check_cached()
        elif self.model.z_device != "device" and self.model.propagation == "full":
            raise UserError(
                f"model.z_device: {self.model.z_device} needs --model.propagation cached; a step of full propagation "
                "takes all rows of Z"
            )
        if self.model.z_folder and self.model.z_device != "disk":
            raise UserError("model.z_folder: is for --model.z_device disk")
        method_of(self).check_settings(self)
        check_foreign(self)
        if self.training.strategy == "deepspeed" and self.bilevel.hypergradient == "penalty":
            raise UserError(
                "bilevel.hypergradient: penalty has a second projector, which needs --training.strategy ddp"
            )
        if self.training.strategy == "deepspeed" and self.bilevel.unroll == "adam":
            raise UserError("bilevel.unroll: adam looks at Adam's moments, which --training.strategy deepspeed splits")
        if self.training.strategy == "ddp" and offload:
            raise UserError("deepspeed.offload_z_adam: needs --training.strategy deepspeed")
        if self.training.strategy == "deepspeed" and self.model.dtype != "float32":
            raise UserError(
                f"model.dtype: DeepSpeed trains in float32; {self.model.dtype} needs --training.strategy ddp"
            )
        if self.training.precision != "full" and self.model.dtype != "float32":
            raise UserError(
                f"training.precision: {self.training.precision} has no place in a training in {self.model.dtype}; "
                "take one of the two back"
            )
        if host_adam != "auto" and not offload:
            raise UserError(
                f"deepspeed.host_adam: {host_adam} updates an offloaded Z; add --deepspeed.offload_z_adam true"
            )

    def _check_cached(self) -> None:
        for name, is_so, reason in (
            ("training.method", not method_of(self).cached, "has no cached sibling of its model"),
            ("training.strategy", self.training.strategy != "ddp", "keeps all of Z in an optimiser of its own"),
            ("training.precision", self.training.precision != "full", "rounds more coarsely than the drift is"),
        ):
            if is_so:
                value = getattr(self.training, name.removeprefix("training."))
                raise UserError(
                    f"model.propagation: cached cannot be used with --{name} {value}, which {reason}; "
                    "take --model.propagation full"
                )
