"""Private parts of Ray and torch that the project uses: each is still what `compat.py` takes it for."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from bifair_dist.compat import interruptible, on_loopback, own_sigterm, profiler_runs


def test_ray_train_hands_on_the_variables_in_its_set() -> None:
    from ray.train.v2._internal import constants

    assert isinstance(constants.ENV_VARS_TO_PROPAGATE, set)
    source = inspect.getsource(constants.get_env_vars_to_propagate)
    assert "ENV_VARS_TO_PROPAGATE" in source and "os.environ" in source


def test_ray_train_answers_ctrl_c_in_the_main_thread_only() -> None:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    source = inspect.getsource(DataParallelTrainer._initialize_and_run_controller)
    assert "if threading.current_thread() is threading.main_thread():" in source
    assert "_register_sigint_handler" in source


def test_ray_keeps_to_loopback_where_clusters_are_off() -> None:
    from ray._private import ray_constants, services

    assert services.node_ip_address_from_perspective() != "127.0.0.1", "else on_loopback is not needed here"
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert ray_constants.ENABLE_RAY_CLUSTER


def test_torch_begins_its_store_with_named_arguments() -> None:
    rendezvous = importlib.import_module("torch.distributed.rendezvous")
    source = inspect.getsource(rendezvous._create_c10d_store)
    assert "TCPStore(\n            host_name=" in source and "is_master=start_daemon" in source


def test_ray_init_takes_sigterm() -> None:
    """Where it no longer does, `own_sigterm` is not needed any more."""
    import ray._private.worker as worker

    assert "set_sigterm_handler" in inspect.getsource(worker.init)


def test_a_restored_tuner_has_its_config_to_be_changed(tmp_path: Path) -> None:
    from ray.tune import TuneConfig
    from ray.tune.impl.tuner_internal import TunerInternal
    from ray.tune.tuner import Tuner

    assert "self._local_tuner = TunerInternal(" in inspect.getsource(Tuner.__init__)
    assert "self._tune_config" in inspect.getsource(TunerInternal)
    assert {"max_concurrent_trials", "time_budget_s"} <= TuneConfig.__dataclass_fields__.keys()


def test_sigterm_keeps_its_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with own_sigterm():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_work_in_another_thread_returns_raises_and_is_interrupted() -> None:
    assert interruptible(lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    held = threading.Event()
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            interruptible(held.wait)
    finally:
        held.set()
        signal.signal(signal.SIGINT, before)


def test_a_running_profiler_is_seen() -> None:
    assert not profiler_runs()
    with torch.profiler.profile():
        assert profiler_runs()
    assert not profiler_runs()
