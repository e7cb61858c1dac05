"""DeepSpeed imported, quietened and kept from compiling what is not needed. Nothing else imports `deepspeed`."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

from bifair_dist.errors import UserError


def check_installed() -> None:
    """Raise a `UserError` that names the extra where DeepSpeed is missing. Imports nothing."""
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            'training.strategy: DeepSpeed is not installed on this machine; pip install "bifair-dist[deepspeed]", or '
            "train with --training.strategy ddp"
        )


def import_deepspeed(device: torch.device) -> ModuleType:
    """The package, set up for `device`. Raises `UserError` where it is missing."""
    check_installed()
    os.environ.setdefault("DS_ACCELERATOR", device.type)  # otherwise it looks for one, and warns that it found none
    os.environ.setdefault("LOCAL_RANK", "0")  # asked for, and not used: the device is passed to `initialize`
    import deepspeed
    import deepspeed.ops

    # On the CPU the first collective would compile a shared-memory extension for minutes; gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".*torch\.distributed\.\w+` is deprecated", FutureWarning)
    module: ModuleType = deepspeed
    return module


def process_group(device: torch.device, size: int) -> None:
    """Make sure that there is a default process group of `size`, which is the one that DeepSpeed works in.

    A worker alone has none: it gets one of its own, without any port, for as long as the process lives (DeepSpeed
    keeps it, and does not accept another one).
    """
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if dist.get_world_size() != size:
        raise RuntimeError(f"DeepSpeed works in the default process group of {dist.get_world_size()}, not of {size}")


def engine_config(stage: int, numel: int) -> dict[str, Any]:
    """DeepSpeed's configuration for ZeRO `stage` on one parameter of `numel` elements, in plain float32."""
    zero: dict[str, Any] = {
        "stage": stage,
        # Buckets are buffers; the default of 5e8 elements would be 2 GB for a projector of a few million.
        "reduce_bucket_size": numel,
        "allgather_bucket_size": numel,
        "overlap_comm": False,
        # Nothing here needs the norm, and where it is not finite DeepSpeed skips the step. Under DDP it is taken, and
        # the next loss, which is not finite, ends the run. ZeRO 3 has no switch: deepspeed_engine.py looks itself.
        "compute_grad_norm": stage == 3,
        "stage3_param_persistence_threshold": 0,
    }
    return {
        "train_micro_batch_size_per_gpu": 1,  # asked for, and used for its own reports only
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # 1.0 by default
        "zero_optimization": zero,
    }
