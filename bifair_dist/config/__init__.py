"""Every setting, typed, with its unit, default and reason. Knows nothing of torch.distributed or Ray."""

from bifair_dist.config.balance import BalanceSettings
from bifair_dist.config.bilevel import BilevelSettings
from bifair_dist.config.cached import CachedSettings
from bifair_dist.config.checkpoint import CheckpointSettings
from bifair_dist.config.cluster import ClusterSettings
from bifair_dist.config.command_line import help_text, parse
from bifair_dist.config.data import DataSettings
from bifair_dist.config.deepspeed import DeepSpeedSettings
from bifair_dist.config.embed import EmbedSettings, ImportSettings, ProbeSettings, VerifySettings
from bifair_dist.config.model import ModelSettings
from bifair_dist.config.settings import Settings, flatten, override, section, setting
from bifair_dist.config.tracking import TrackingSettings
from bifair_dist.config.train import TrainSettings
from bifair_dist.config.training import TrainingSettings
from bifair_dist.config.yaml_file import load, read_yaml, to_yaml

__all__ = [
    "BalanceSettings",
    "BilevelSettings",
    "CachedSettings",
    "CheckpointSettings",
    "ClusterSettings",
    "DataSettings",
    "DeepSpeedSettings",
    "EmbedSettings",
    "ImportSettings",
    "ModelSettings",
    "ProbeSettings",
    "Settings",
    "TrackingSettings",
    "TrainSettings",
    "TrainingSettings",
    "VerifySettings",
    "flatten",
    "help_text",
    "load",
    "override",
    "parse",
    "read_yaml",
    "section",
    "setting",
    "to_yaml",
]
