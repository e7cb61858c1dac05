"""Which Adam updates Z on the host, and its compilation: announced, and done by one process at a time.

DeepSpeedCPUAdam is compiled for minutes when a machine uses it for the first time. Several processes that compile into
one folder wait for each other's lock, and for ever where the one that held it died. So the first worker builds alone,
then one worker on every other machine, which finds it built where the machines share the folder; then all load it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from bifair_dist.errors import UserError
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.deepspeed_setup import import_deepspeed
from bifair_dist.progress import duration

HostKernel = Literal["torch", "deepspeed"]


def choose_host_adam(
    wanted: Literal["auto", "deepspeed", "torch"], device: torch.device, comm: Comm, say: Callable[[str], None]
) -> HostKernel:
    """The kernel to use, the same on every worker, built and loaded. All workers call it together.

    Args:
        wanted: auto takes torch's where nothing is gained (Z on the host) or no compiler is found.
        device: where Z is.
        comm: the workers.
        say: a line for the run's log.

    Raises:
        UserError: where DeepSpeedCPUAdam was asked for by name and cannot be built.
    """
    if wanted == "torch" or (wanted == "auto" and device.type == "cpu"):
        return "torch"
    if wanted == "auto" and not all(comm.gather_objects(shutil.which("c++") is not None)):
        say("no C++ compiler on some machine: torch's Adam updates Z on the host, not DeepSpeedCPUAdam")
        return "torch"
    say("loading DeepSpeedCPUAdam; the first time a machine uses it, it is compiled, which takes minutes")
    start = time.monotonic()
    problem = _build_in_turns(device, comm)
    if not problem:
        say(f"DeepSpeedCPUAdam is ready after {duration(time.monotonic() - start)}")
        return "deepspeed"
    if wanted == "deepspeed":
        raise UserError(f"deepspeed.host_adam: DeepSpeedCPUAdam cannot be built ({problem}); use torch")
    say(f"DeepSpeedCPUAdam cannot be built ({problem}): torch's Adam updates Z on the host")
    return "torch"


def _build_in_turns(device: torch.device, comm: Comm) -> str:
    """Build or load it on every worker; what went wrong, on whichever, or nothing."""
    hosts = comm.gather_objects(socket.gethostname())
    turn = 0 if comm.rank == 0 else 1 if hosts.index(hosts[comm.rank]) == comm.rank else 2
    for now in range(3):
        problem = _load(device) if turn == now else ""
        problem = next((p for p in comm.gather_objects(problem) if p), "")
        if problem:
            return problem
    return ""


def _load(device: torch.device) -> str:
    import_deepspeed(device)
    if shutil.which("ninja") is None:
        # DeepSpeed's own dependency, beside the interpreter: not found where the environment is not activated.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        from deepspeed.ops.op_builder import CPUAdamBuilder

        CPUAdamBuilder().load(verbose=False)
    except Exception as error:  # whatever a compiler can say
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ""
