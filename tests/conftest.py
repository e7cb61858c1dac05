"""Fixtures that every test file may use."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
# Workers of tests are copies of one process that imported all this: imports are most of what they take.
multiprocessing.set_forkserver_preload(["torch", "bifair_dist.training.worker"])

# How fast a busy machine is says nothing about the code under test. Examples are not drawn anew at every run, so that a
# commit seldom passes once and fails once; to search for failures: pytest --hypothesis-profile explore
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same examples", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same examples")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; a test that needs it is skipped with the reason where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BIFAIR_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set BIFAIR_SHARED_DATA to the folder that holds them")
    return folder
