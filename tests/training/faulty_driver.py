"""`jobs/train.py` on Ray with a plan of faults: `python faulty_driver.py PLAN.json [settings]`.

The plan is a list of [what, rank, step]: in the first try the worker of that rank does `what` in that step of the try;
in the next try the second entry holds, and so on. `what`: raise, kill (the worker), driver (kill the driver).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def faulty_worker(config: dict[str, Any]) -> None:
    """A Ray Train worker that fails as planned."""
    from bifair_dist.bilevel.step import BilevelStep
    from bifair_dist.workers.ray_train import _ray_worker

    plan = json.loads(Path(config["plan"]).read_text())
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    tries = Path(config["plan"] + f".{rank}")
    number = len(tries.read_text()) if tries.exists() else 0
    tries.write_text("." * (number + 1))
    if number < len(plan):
        what, who, at = plan[number]
        whole, done = BilevelStep.__call__, 0

        def step(self: BilevelStep, *arguments: Any) -> Any:
            nonlocal done
            done += 1
            if rank == who and done == at:
                if what == "raise":
                    raise RuntimeError("planned")
                os.kill(config["driver"] if what == "driver" else os.getpid(), signal.SIGKILL)
            return whole(self, *arguments)

        setattr(BilevelStep, "__call__", step)  # noqa: B010 - an assignment does not pass the type checker
    _ray_worker(config)


def main() -> None:
    """Train with the faulty worker in place of the real one."""
    plan, *arguments = sys.argv[1:]
    import ray.train.torch

    from bifair_dist.after_training import publish
    from bifair_dist.command_line import parse
    from bifair_dist.training.launch import train
    from bifair_dist.training.settings import TrainSettings

    whole = ray.train.torch.TorchTrainer.__init__

    def trainer(self: Any, worker: Any, *, train_loop_config: dict[str, Any], **rest: Any) -> None:
        config = {**train_loop_config, "plan": plan, "driver": os.getpid()}
        whole(self, faulty_worker, train_loop_config=config, **rest)

    setattr(ray.train.torch.TorchTrainer, "__init__", trainer)  # noqa: B010
    train(parse(TrainSettings(), arguments), finish=publish)


if __name__ == "__main__":
    from bifair_dist.errors import run_job

    run_job(main)
