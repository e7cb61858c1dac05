"""Bodies of workers, as modules that their processes can import."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path

import torch
import torch.distributed as dist
from sockets import listening

from bifair_dist.errors import UserError
from bifair_dist.workers.run import run_workers
from bifair_dist.workers.settings import ClusterSettings
from bifair_dist.workers.torchrun import on_first, torchrun_worker
from bifair_dist.workers.worker import Worker


def sums(start: int, worker: Worker) -> tuple[int, int, bool]:
    """(workers, `start` on each and its rank added up, whether this one is the first)."""
    if worker.group is None:
        return 1, start, worker.is_first
    rank = dist.get_rank(worker.group)
    total = torch.tensor([1, start + rank])
    dist.all_reduce(total, group=worker.group)
    dist.all_reduce(torch.zeros(1), group=worker.inner_group)
    return int(total[0]), int(total[1]), worker.is_first


def listens(root: int, worker: Worker) -> set[str]:
    """Addresses at which process `root` and all those below it listen, while the workers talk to each other."""
    dist.all_reduce(torch.zeros(1), group=worker.group)
    found = listening(root)
    dist.barrier(group=worker.group)
    return found


def refuses(worker: Worker) -> None:
    """The last worker refuses, while the others wait for it."""
    if worker.group is None or dist.get_rank() == dist.get_world_size() - 1:
        raise UserError("cannot work on this")
    dist.barrier()


def main() -> None:
    """Under torchrun: each process writes its result to the folder given."""
    cluster = ClusterSettings()
    folder = Path(sys.argv[1])

    def make() -> int:
        (folder / "made").open("a").write("once ")
        return 10

    with torchrun_worker(cluster) as me:
        assert me is not None and me.inner_group is not None
        gone = folder / f"gone-{dist.get_rank()}"
        weakref.finalize(
            me.inner_group, lambda: gone.write_text("ending" if sys.is_finalizing() else "alive")
        ).atexit = False
        start = on_first(me, make)
        (folder / str(dist.get_rank())).write_text(repr(run_workers(lambda w: sums(start, w), cluster, me=me)))
        try:
            on_first(me, lambda: refuses(Worker(None, None, me.device)))
        except UserError as error:
            (folder / f"refused-{dist.get_rank()}").write_text(str(error))


if __name__ == "__main__":
    main()
