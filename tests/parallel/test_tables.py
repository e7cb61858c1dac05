"""Z in host memory or in mapped files: the same numbers, less memory, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import z_on_disk

from bifair_dist.errors import UserError
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.tables import Tables

ROOT = Path(__file__).resolve().parents[2]
HERE = torch.device("cpu")


def test_adam_in_files_is_adam_in_memory(tmp_path: Path) -> None:
    """Bit by bit, and the files have no name any more."""
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(50, 3, generator=rng)
    disk = Tables(HERE, "disk", str(tmp_path))
    found = []
    for tables in (Tables(HERE), disk):
        table, draws = tables.copy(first), torch.Generator().manual_seed(1)
        adam = LazyAdam(table, 0.1, tables)
        for _ in range(20):
            rows = torch.randperm(50, generator=draws)[:7]
            adam.take(rows).grad = torch.randn(7, 3, generator=draws)
            adam.step()
        found.append(table)
    assert torch.equal(*found) and not torch.equal(found[0], first)
    assert list(tmp_path.iterdir()) == []
    with open("/proc/self/maps") as maps:
        assert str(tmp_path) in maps.read()  # they are files all the same


def test_no_room_and_no_folder_are_one_line(tmp_path: Path) -> None:
    for folder, columns in ((tmp_path / "missing", 4), (tmp_path, 1 << 40)):
        with pytest.raises(UserError, match=r"^model\.z_folder: ") as refused:
            Tables(HERE, "disk", str(folder)).zeros((8, columns), torch.float32)
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_training_in_half_the_memory_of_z_and_moments() -> None:
    """Steps, average and ranking with 4 matrices of Z's size on disk; in memory they do not fit the limit."""
    limit = 3 * z_on_disk.Z // 2**21
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    sums = []
    for where, mib, works in (("disk", limit, True), ("device", limit, False), ("device", 20 * limit, True)):
        command = [sys.executable, z_on_disk.__file__, where, str(mib)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == works, done.stderr
        assert works or "allocate" in done.stderr
        sums += [float(done.stdout)] if works else []
    assert sums[0] == sums[1]
