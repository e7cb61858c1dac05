"""Checkpoints of a run: complete or not there, checked by checksum, the last few kept and the best that they refer to.

    <place>/step-000001200.2/shard-0000r-*.safetensors    each worker's part (parallel/sharded_tensors.py)
    <place>/step-000001200.2/checkpoint.json              written last: state, and size and checksum of every shard

A folder without `checkpoint.json` is no checkpoint. The number behind the dot is that of the driver that wrote it
(lease.py): two drivers never write into one folder. `<place>` is a path or any fsspec URI.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from bifair_dist.errors import UserError, inside
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sharded_tensors import Tensors, load_tensors, save_tensors

MARKER = "checkpoint.json"
_NAME = re.compile(r"step-(\d{9})\.(\d+)")


@dataclass(frozen=True, slots=True)
class Saved:
    """A complete checkpoint: `state` is what `save` was given, `best` the name of the best one at that time."""

    name: str
    state: dict[str, Any]
    best: str
    files: dict[str, list[Any]]


class Checkpoints:
    """All workers call every method together.

    `attempt` numbers the drivers of a run, from 1; `fence` raises where this one may not write any more.
    """

    def __init__(
        self, place: str, comm: Comm, *, keep: int, attempt: int = 1, fence: Callable[[], None] = lambda: None
    ) -> None:
        self.comm, self.keep, self.attempt, self.place, self._fence = comm, keep, attempt, place, fence
        try:
            self._fs, self._root = fsspec.core.url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise UserError(f"checkpoint.folder: {place}: {error}") from None
        self._remote = "://" in place
        self._known: dict[str, Saved] = {}

    def name(self, step: int) -> str:
        """Of the checkpoint that this driver writes after `step` steps of the run."""
        return f"step-{step:09d}.{self.attempt}"

    def save(self, step: int, tensors: Tensors, state: dict[str, Any], best: str) -> str:
        """Write one and remove those that are no longer needed; returns its name. Raises `UserError`."""
        name = self.name(step)
        self._together(lambda: self._clear(name))
        with self._local(name) as folder:
            files = self._together(lambda: self._write(folder, name, tensors))
        saved = Saved(name, state, best, {k: v for part in files for k, v in part.items()})
        self._together(lambda: self._finish(saved))
        return name

    def newest(self, say: Callable[[str], None]) -> Saved | None:
        """The last complete and undamaged checkpoint whose best is undamaged too; `say` hears of those passed over."""
        names = self.comm.gather_objects(self._names() if self.comm.rank == 0 else [])[0]
        for name in names:
            saved, problem = self._check(name)
            if saved is not None and not problem and saved.best not in ("", name):
                problem = self._check(saved.best)[1]
            if saved is not None and not problem:
                return saved
            say(f"checkpoint {name} cannot be used: {problem}; trying the one before it")
        return None

    def load(self, name: str, into: Tensors) -> None:
        """Read tensors of a checkpoint, in place. Raises `UserError`."""
        with self._local(name) as folder:
            try:
                if self._remote:
                    for file in self._known[name].files:
                        self._fs.get_file(f"{self._root}/{name}/{file}", str(folder / file))
                load_tensors(folder, into, self.comm)
            except OSError as error:
                raise UserError(f"{self.place}/{name}: cannot be read ({error}); remove it and start again") from None

    # -- writing ---------------------------------------------------------------------------------------------------

    def _clear(self, name: str) -> None:
        """What a cut-off attempt of the same driver left: shards of another number of workers must not stay."""
        if self.comm.rank == 0:
            self._fence()
            if self._fs.exists(f"{self._root}/{name}"):
                self._fs.rm(f"{self._root}/{name}", recursive=True)
            self._fs.makedirs(f"{self._root}/{name}", exist_ok=True)

    def _write(self, folder: Path, name: str, tensors: Tensors) -> dict[str, list[Any]]:
        save_tensors(folder, tensors, self.comm)
        mine = sorted(folder.glob(f"shard-{self.comm.rank + 1:05d}-*.safetensors"))
        if self._remote:
            for file in mine:
                self._fs.put_file(str(file), f"{self._root}/{name}/{file.name}")
        return {file.name: [file.stat().st_size, _digest(file.open("rb"))] for file in mine}

    def _finish(self, saved: Saved) -> None:
        if self.comm.rank == 0:
            self._fence()
            record = {"state": saved.state, "best": saved.best, "files": saved.files}
            text = json.dumps({**record, "checksum": _checksum(record)}, allow_nan=False)
            path = f"{self._root}/{saved.name}/{MARKER}"
            self._fs.pipe_file(path + ("" if self._remote else ".part"), text.encode())
            if not self._remote:
                self._fs.mv(path + ".part", path)
        self._known[saved.name] = saved
        if self.comm.rank == 0:
            self._prune()

    def _prune(self) -> None:
        # Only those that were written or read here: a damaged one must not take the place of a good one.
        last = [name for name in self._names() if name in self._known][: self.keep]
        wanted = {name for n in last for name in (n, self._known[n].best)}
        for path in self._fs.ls(self._root, detail=False):
            name = str(path).rstrip("/").rpartition("/")[2]
            if _NAME.fullmatch(name) and name not in wanted:
                self._fs.rm(path, recursive=True)

    def _together(self, work: Callable[[], Any]) -> list[Any]:
        """Do it on every worker, and fail on every worker where it failed on one: nobody waits for the others."""
        result, problem = None, ""
        try:
            result = work()
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = (
                f"{self.place}: worker {self.comm.rank} cannot write a checkpoint ({error.strerror or error}); the "
                f"last good one is {self.last or 'none'}; fix it and run the same command again, it goes on from there"
            )
        outcomes = self.comm.gather_objects((result, problem))
        for _, problem in outcomes:
            if problem:
                raise UserError(problem)
        return [result for result, _ in outcomes]

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def last(self) -> str:
        """Name of the last complete checkpoint that this worker knows of; empty where there is none."""
        return max(self._known, key=_order, default="")

    def _names(self) -> list[str]:
        """Complete checkpoints, the last one first."""
        if not self._fs.exists(self._root):
            return []
        self._fs.invalidate_cache()
        names = (str(path).rstrip("/").rpartition("/")[2] for path in self._fs.ls(self._root, detail=False))
        found = [n for n in names if _NAME.fullmatch(n) and self._fs.exists(f"{self._root}/{n}/{MARKER}")]
        return sorted(found, key=_order, reverse=True)

    def _check(self, name: str) -> tuple[Saved | None, str]:
        """The checkpoint and what is wrong with it, the same on every worker; each checks its share."""
        saved, problem = None, ""
        try:
            saved = self._read(name)
            for file, (size, digest) in list(saved.files.items())[self.comm.rank :: self.comm.size]:
                path = f"{self._root}/{name}/{inside(file, name)}"
                if not self._fs.exists(path):
                    problem = f"{file} is missing"
                elif self._fs.size(path) != size or _digest(self._fs.open(path, "rb")) != digest:
                    problem = f"{file} is damaged (its checksum differs)"
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            problem = f"{MARKER} is damaged ({error})"
        problem = next((p for p in self.comm.gather_objects(problem) if p), "")
        if saved is not None and not problem:
            self._known[name] = saved
        return saved, problem

    def _read(self, name: str) -> Saved:
        record = json.loads(self._fs.cat_file(f"{self._root}/{name}/{MARKER}"))
        if record.pop("checksum") != _checksum(record):
            raise ValueError("its checksum differs")
        return Saved(name, record["state"], record["best"], record["files"])

    @contextmanager
    def _local(self, name: str) -> Iterator[Path]:
        """The checkpoint's folder; for a URI a temporary one, which stands in for it on this machine."""
        if not self._remote:
            yield Path(self._root) / name
            return
        folder = Path(tempfile.mkdtemp(prefix="bifair-checkpoint-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _order(name: str) -> tuple[int, int]:
    step, attempt = _NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    return int(step), int(attempt)


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def _digest(file: Any) -> str:
    with file:
        digest = hashlib.blake2b(digest_size=16)
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
