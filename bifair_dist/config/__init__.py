"""Old import paths, for the days in which everything moves: each component has its settings beside it now."""

import sys

from bifair_dist import command_line, settings, tracking_settings
from bifair_dist.bilevel import settings as bilevel
from bifair_dist.bilevel.settings import BilevelSettings
from bifair_dist.bilevel.weights import registry as balance
from bifair_dist.bilevel.weights.registry import BalanceSettings
from bifair_dist.command_line import parse
from bifair_dist.data import settings as data
from bifair_dist.data.settings import DataSettings
from bifair_dist.embedding import settings as embed
from bifair_dist.embedding.settings import EmbedSettings, ImportSettings, ProbeSettings, VerifySettings
from bifair_dist.model import settings as model
from bifair_dist.model.settings import ModelSettings
from bifair_dist.parallel import settings as deepspeed
from bifair_dist.parallel.settings import DeepSpeedSettings
from bifair_dist.planning import settings as plan
from bifair_dist.report import evaluate_settings as evaluate
from bifair_dist.report import settings as report
from bifair_dist.serving import settings as recommend_settings
from bifair_dist.settings import Settings, flatten, load, override, read_yaml, section, setting, to_yaml
from bifair_dist.study import settings as study
from bifair_dist.tracking_settings import TrackingSettings
from bifair_dist.training import cached_settings, checkpoint_settings, training_settings
from bifair_dist.training import settings as train
from bifair_dist.training.cached_settings import CachedSettings
from bifair_dist.training.checkpoint_settings import CheckpointSettings
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.training_settings import TrainingSettings
from bifair_dist.tuning import settings as tune
from bifair_dist.workers import settings as cluster_settings
from bifair_dist.workers.settings import ClusterSettings

for _name, _module in {
    "balance": balance,
    "bilevel": bilevel,
    "cached": cached_settings,
    "checkpoint": checkpoint_settings,
    "cluster": cluster_settings,
    "command_line": command_line,
    "data": data,
    "deepspeed": deepspeed,
    "embed": embed,
    "evaluate": evaluate,
    "model": model,
    "plan": plan,
    "recommend": recommend_settings,
    "report": report,
    "settings": settings,
    "study": study,
    "tracking": tracking_settings,
    "train": train,
    "training": training_settings,
    "tune": tune,
    "yaml_file": settings,
}.items():
    sys.modules[f"bifair_dist.config.{_name}"] = _module

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
    "load",
    "override",
    "parse",
    "read_yaml",
    "section",
    "setting",
    "to_yaml",
]
