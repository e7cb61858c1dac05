"""Matrices with a row for each item that need not be where the worker computes: in host memory, or in a mapped file.

A cached step reads and writes a few thousand rows of Z and of Adam's moments; only these go to the device. A file is
mapped into memory (mmap, shared): its pages are the system's cache of it, which is given up under pressure, and not
memory of the process. It has no name any more once it is mapped, so nothing of it is left after a run that is killed.
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bifair_dist.errors import UserError

Where = Literal["device", "cpu", "disk"]
BLOCK = 1 << 16
"""Rows that are filled or combined at a time."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Where a worker that computes on `device` has such matrices; `folder` on a local disk, empty: the system's."""

    device: torch.device
    where: Where = "device"
    folder: str = ""

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A new one. Raises `UserError` where the disk has no room for it."""
        n = math.prod(shape)
        if self.where != "disk" or not n:
            return torch.zeros(shape, dtype=dtype, device=None if self.where == "cpu" else self.device)
        path = ""
        try:
            handle, path = tempfile.mkstemp(prefix="bifair-z-", dir=self.folder or None)
            with open(handle, "rb+", buffering=0) as file:
                # The room is taken now: a disk that fills up later would end the process in the middle of a step.
                os.posix_fallocate(file.fileno(), 0, n * dtype.itemsize)
            return torch.from_file(path, shared=True, size=n, dtype=dtype).view(shape)
        except OSError as error:
            size = n * dtype.itemsize / 2**30
            raise UserError(
                f"model.z_folder: {self.folder or tempfile.gettempdir()}: no file of {size:,.2f} GiB for a matrix as "
                f"large as Z ({error.strerror}); name a folder on a disk with room for four of them"
            ) from None
        finally:
            if path:
                os.unlink(path)

    def copy(self, table: Tensor) -> Tensor:
        """A new one with the same content."""
        return self.zeros(table.shape, table.dtype).copy_(table.detach())
