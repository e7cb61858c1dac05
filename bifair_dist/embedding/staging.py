"""Where an embedding job keeps what is done until all of it is: `<output>.partial/`.

staged/*.parquet       finished units: row, item_id, tokens, truncated, vector
checkpoint/*.parquet   rows that are staged, kept by Ray Data (its pending files mark units that were cut off)
failed/*.parquet       row, item_id, reason of items that failed in the last pass
engine.log             lines of Ray and the engine themselves
job.json               what is embedded how; another job may not go on here
lock                   held while a job writes here
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.embedding.items import ROW
from bifair_dist.errors import UserError
from bifair_dist.files import write_json, writing


@dataclass(slots=True)
class Staging:
    """The folder of one job. Use as a context: the lock is held inside."""

    folder: Path
    _lock: IO[str] | None = field(default=None, init=False)

    @classmethod
    def beside(cls, output: Path) -> Staging:
        """The one that belongs to an output folder."""
        return cls(output.with_name(output.name + ".partial"))

    @property
    def staged(self) -> Path:
        """Folder of the finished units."""
        return self.folder / "staged"

    @property
    def checkpoint(self) -> Path:
        """Folder of Ray Data's records."""
        return self.folder / "checkpoint"

    @property
    def failed(self) -> Path:
        """Folder of the last pass's failures."""
        return self.folder / "failed"

    @property
    def engine_log(self) -> Path:
        """What Ray and the engine wrote past Python."""
        return self.folder / "engine.log"

    def __enter__(self) -> Staging:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be made ({error.strerror}); choose another --output") from None
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UserError(f"{self.folder}: another embedding job is writing here; wait for it, or stop it") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def claim(self, job: Mapping[str, Any]) -> bool:
        """Begin, or go on with, the job that `job` describes; True where something of it is there already.

        Raises `UserError` where the folder holds the beginning of another job, naming what differs.
        """
        path = self.folder / "job.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            differs = sorted(k for k in before.keys() | job.keys() if before.get(k) != job.get(k))
            if differs:
                raise UserError(
                    f"{self.folder}: begun with another {', '.join(differs)}; run the same command again, "
                    "choose another --output, or remove that folder"
                )
        else:
            for name in (self.staged, self.checkpoint, self.failed):
                shutil.rmtree(name, ignore_errors=True)
            write_json(path, job, indent=1)
        for name in (self.staged, self.checkpoint, self.failed):
            name.mkdir(exist_ok=True)
        return any(self.staged.iterdir())

    def committed(self) -> npt.NDArray[np.int64]:
        """Rows that are staged for good, sorted, int64."""
        files = [p for p in self.checkpoint.glob("*.parquet") if ".pending" not in p.name]
        rows = [pq.read_table(p, columns=[ROW])[ROW].to_numpy() for p in files]
        return np.sort(np.concatenate([np.empty(0, np.int64), *rows]))

    def write_unit(self, name: str, table: pa.Table) -> None:
        """Stage a unit as Ray Data does, for a job that runs without it: data first, then the record that commits."""
        for folder, part in ((self.staged, table), (self.checkpoint, table.select([ROW]))):
            with writing(folder / f"{name}.parquet") as temporary:
                pq.write_table(part, temporary)

    def drop_uncommitted(self) -> None:
        """Data whose record was not written any more, for a job that runs without Ray Data (which sees to its own)."""
        committed = self.committed()
        for path in self.staged.glob("*.parquet"):
            if not np.isin(pq.read_table(path, columns=[ROW])[ROW].to_numpy(), committed).all():
                path.unlink()

    def rate(self, since: float) -> tuple[int, float]:
        """Items staged after the first unit of those staged from `since` (seconds since 1970) on, and their seconds.

        What came before that unit was the start of the model. With one unit: its items, and the seconds up to it.
        """
        files = sorted((p.stat().st_mtime, p) for p in self.staged.glob("*.parquet") if p.stat().st_mtime >= since)
        if len(files) > 1:
            since, files = files[0][0], files[1:]
        rows = sum(pq.read_metadata(path).num_rows for _, path in files)
        return rows, files[-1][0] - since if files else 0.0

    def forget_failures(self) -> None:
        """Before a pass: what failed earlier is tried again."""
        shutil.rmtree(self.failed, ignore_errors=True)
        self.failed.mkdir()

    def failures(self) -> pa.Table:
        """`row`, `item_id`, `reason` of what failed in the last pass, by row."""
        schema = pa.schema([(ROW, pa.int64()), ("item_id", pa.string()), ("reason", pa.string())])
        tables = [pq.read_table(p).cast(schema) for p in sorted(self.failed.glob("*.parquet"))]
        return pa.concat_tables([schema.empty_table(), *tables]).sort_by(ROW)

    def remove(self) -> None:
        """After the output folder is complete."""
        with suppress(OSError):
            shutil.rmtree(self.folder)


def split_failures(folder: str, table: pa.Table) -> pa.Table:
    """The good rows of an engine's table; the others are written below `folder`. A step of the pipeline."""
    bad = [reason != "" for reason in table["reason"].to_pylist()]
    if any(bad):
        lost = table.filter(pa.array(bad)).select([ROW, "item_id", "reason"])
        name = f"{lost[ROW][0].as_py():012d}-{os.getpid()}"
        with writing(Path(folder) / f"{name}.parquet") as temporary:
            pq.write_table(lost, temporary)
    return table.filter(pa.array([not b for b in bad])).drop_columns(["reason"])
