"""The plan of a training (`jobs/train.py plan`): what it will cost, before anything runs."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, section, setting
from bifair_dist.training.settings import TrainSettings


class PlanSettings(Settings):
    """Plan: on what hardware, and for what sizes where there is no dataset yet."""

    hardware: Literal["all", "cpu-2core", "a100-80gb", "h100-80gb", "h200"] = setting(
        "all",
        "what to plan for (docs/planning.md has the figures); `plan NAME` is short for it",
        why="a line for each lets you choose",
    )
    items: int = setting(0, "items of the catalogue; 0: those of the dataset", unit="items", ge=0)
    users: int = setting(0, "users; 0: those of the dataset", unit="users", ge=0)
    pairs: int = setting(0, "training pairs; 0: those of the dataset", unit="pairs", ge=0)
    width: int = setting(
        0,
        "columns of the item vectors; 0: those of --data.representations, without one MiniLM's 384",
        unit="columns",
        ge=0,
    )
    groups: int = setting(
        0,
        "groups that training balances; 0: those of the dataset's table balance.group, without one 8",
        unit="groups",
        ge=0,
    )
    network: float = setting(
        0.0,
        "what a worker sends a second; 0: the hardware's own link. 25 Gbit Ethernet is 3.1",
        unit="GB/s",
        why="workers on one machine",
        ge=0,
    )


class TrainPlanSettings(TrainSettings):
    """Settings of `jobs/train.py plan`: those of the training, and the plan's own."""

    plan: PlanSettings = section(PlanSettings)
