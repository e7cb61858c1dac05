"""Tensors of all workers in one folder, each worker writing its part; readable by any number of workers.

torch.distributed.checkpoint plans who writes and reads what. Its safetensors files are used instead of its own format,
whose index is a pickle: a checkpoint from elsewhere must not be able to run code (docs/security.md).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from bifair_dist.parallel.comm import Comm, row_range


@dataclass(frozen=True, slots=True)
class Rows:
    """This worker's rows [m, c] of an [n, c] matrix, padded to m = ceil(n / W); the padding is not stored."""

    local: Tensor
    n: int


Tensors = Mapping[str, Tensor | Rows]
"""By name: tensors that are the same on every worker (at least one dimension), and row shards."""


def save_tensors(folder: Path, tensors: Tensors, comm: Comm) -> None:
    """Write `shard-*.safetensors`, this worker's part of the work. All workers call it. Raises `OSError`.

    A file is put together in memory before it is written: a row shard has a file of its own, so that no more than one
    of them is in memory twice. That is less than a training step needs, whose gradient is not there now.
    """
    shards = [name for name, value in tensors.items() if isinstance(value, Rows)]
    file_of = {name: 1 for name in tensors} | {name: i for i, name in enumerate(shards, start=2)}
    writer = _Writer(str(folder), fqn_to_index_mapping=file_of, save_distributed=True)
    with _plain_errors():
        dcp.save(_views(tensors, comm), storage_writer=writer, **_how(comm))


def load_tensors(folder: Path, into: Tensors, comm: Comm) -> None:
    """Read into the given tensors, in place. All workers call it with the same names. Raises `OSError`."""
    with _plain_errors():
        dcp.load(_views(into, comm), storage_reader=HuggingFaceStorageReader(str(folder)), **_how(comm))


class _Writer(HuggingFaceStorageWriter):
    def _metadata_exists(self) -> bool:
        return False  # the caller gives an empty folder; the question costs a warning on every worker


def _how(comm: Comm) -> dict[str, Any]:
    return {"no_dist": True} if comm.size == 1 else {"process_group": comm.group}


def _views(tensors: Tensors, comm: Comm) -> dict[str, Tensor]:
    """The same memory as torch.distributed.checkpoint wants to see it."""
    meshes: dict[str, DeviceMesh] = {}  # by kind of device: a DTensor copies what is not on its mesh's
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            out[name] = value.detach()
            continue
        start, stop = row_range(value.n, comm.size, comm.rank)
        local = value.local.detach()[: stop - start]
        if comm.size == 1:
            out[name] = local
            continue
        assert comm.group is not None
        kind = local.device.type
        meshes[kind] = meshes.get(kind) or DeviceMesh.from_group(comm.group, kind)
        shape = torch.Size((value.n, local.shape[1]))
        out[name] = DTensor.from_local(
            local, meshes[kind], [Shard(0)], run_check=False, shape=shape, stride=(shape[1], 1)
        )
    return out


@contextmanager
def _plain_errors() -> Iterator[None]:
    """The first worker's failure as itself, and no chatter."""
    logger = logging.getLogger("torch.distributed.checkpoint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        if isinstance(cause, KeyboardInterrupt):  # which torch takes for a failure of the checkpoint
            raise cause from None
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror or str(cause)) from None
        raise OSError(0, f"{type(cause).__name__}: {cause}") from None
    finally:
        logger.setLevel(level)
