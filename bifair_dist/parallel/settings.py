"""The second training strategy, DeepSpeed (`training.strategy deepspeed`)."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class DeepSpeedSettings(Settings):
    """DeepSpeed: read only where `training.strategy` is deepspeed (docs/deepspeed.md)."""

    zero_stage: int = setting(
        2,
        "what ZeRO splits over the workers of the projector: 1 Adam's moments, 2 also gradients, 3 also parameters",
        unit="stage",
        why="3 sends more and saves little here, since a step needs the whole projector anyway",
        ge=1,
        le=3,
    )
    offload_z_adam: bool = setting(
        False,
        "keep Z's Adam moments in host memory and update Z there",
        why="they are twice the size of Z; needed only where they do not fit the GPU, and slower",
    )
    host_adam: Literal["auto", "deepspeed", "torch"] = setting(
        "auto",
        "what updates an offloaded Z: DeepSpeedCPUAdam or torch's Adam; auto: DeepSpeedCPUAdam where Z is on a GPU and "
        "a C++ compiler is found",
        why="DeepSpeedCPUAdam compiles for minutes when a machine uses it for the first time",
    )
