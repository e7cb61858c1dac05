"""All settings of `jobs/train.py`."""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.config.balance import BalanceSettings
from bifair_dist.config.bilevel import BilevelSettings
from bifair_dist.config.checkpoint import CheckpointSettings
from bifair_dist.config.cluster import ClusterSettings
from bifair_dist.config.data import DataSettings
from bifair_dist.config.model import ModelSettings
from bifair_dist.config.settings import Settings, section
from bifair_dist.config.tracking import TrackingSettings
from bifair_dist.config.training import TrainingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings(Settings):
    """Settings of a training run, one section for each component."""

    data: DataSettings = section(DataSettings)
    model: ModelSettings = section(ModelSettings)
    bilevel: BilevelSettings = section(BilevelSettings)
    balance: BalanceSettings = section(BalanceSettings)
    training: TrainingSettings = section(TrainingSettings)
    checkpoint: CheckpointSettings = section(CheckpointSettings)
    cluster: ClusterSettings = section(ClusterSettings)
    tracking: TrackingSettings = section(TrackingSettings)
