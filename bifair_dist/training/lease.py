"""Who may write to a run folder: one driver at a time, and a number that tells its writings from an earlier one's.

`driver.json` in the run folder names the driver and is renewed every few seconds. A second driver is refused while the
first lives: on the same machine the process is looked up, on another one the record is watched for as long as a
living driver would need to renew it. A driver whose record was taken over meanwhile (it was suspended, or cut off from
the storage) finds another token there and may not write any more: retries that overlap, as Kubernetes may start them,
do not mix (kuberay#5211).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

from bifair_dist.errors import UserError
from bifair_dist.files import write_json

FILE = "driver.json"
RENEW = 10.0
"""Seconds between renewals; one that stays away for six of them is taken for dead."""
WATCH = 6 * RENEW


@dataclass(frozen=True, slots=True)
class Owner:
    """The record: `attempt` counts the drivers of the run from 1, `started` is the process's start in clock ticks."""

    token: str
    attempt: int
    host: str
    boot: str
    pid: int
    started: str
    renewed: float
    released: bool = False


class Lease:
    """Held from `with Lease(folder):` to its end. Raises `UserError` where another driver holds it."""

    def __init__(self, folder: Path, watch: float = WATCH, renew: float = RENEW) -> None:
        self.folder, self._watch, self._renew = folder, watch, renew
        self.owner = Owner(uuid.uuid4().hex, 1, socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()), 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Lease:
        before = read_owner(self.folder)
        if before is not None and not before.released and not self._is_dead(before):
            raise UserError(
                f"{self.folder}: process {before.pid} on {before.host} trains this run at the moment; wait for it, "
                "stop it, or choose another --training.run_name"
            )
        with _locked(self.folder):
            now = read_owner(self.folder)
            if (now and now.token) != (before and before.token):
                raise UserError(f"{self.folder}: another process was faster to take up this run")
            self.owner = replace(self.owner, attempt=before.attempt + 1 if before else 1, renewed=time.time())
            self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError), _locked(self.folder):
            if self._is_ours():
                self.owner = replace(self.owner, released=True)
                self._write()

    def _is_dead(self, other: Owner) -> bool:
        if other.host == self.owner.host and other.boot == self.owner.boot:
            return _started(other.pid) != other.started
        print(
            f"{self.folder}: last trained from {other.host}; watching for {self._watch:.0f} s whether that still lives",
            flush=True,
        )
        end = time.monotonic() + self._watch
        while time.monotonic() < end:
            time.sleep(min(1.0, self._watch / 10))
            if read_owner(self.folder) != other:
                return False
        return True

    def _keep(self) -> None:
        while not self._stop.wait(self._renew):
            with contextlib.suppress(OSError), _locked(self.folder):
                if not self._is_ours():
                    return
                self.owner = replace(self.owner, renewed=time.time())
                self._write()

    def _is_ours(self) -> bool:
        now = read_owner(self.folder)
        return now is not None and now.token == self.owner.token

    def _write(self) -> None:
        write_json(self.folder / FILE, asdict(self.owner))


def read_owner(folder: Path) -> Owner | None:
    """The record as it stands, None where there is none."""
    try:
        return Owner(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UserError(f"{folder / FILE} is damaged; remove it if no process trains this run") from None


def check_fence(folder: Path, token: str) -> None:
    """Raises `UserError` where another driver has taken over the run; called before anything is written."""
    owner = read_owner(folder)
    if token and (owner is None or owner.token != token):
        by = f"process {owner.pid} on {owner.host}" if owner else "somebody who removed driver.json"
        raise UserError(f"{folder}: this run was taken over by {by}; this process stops and writes nothing more")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Read, decide and write as one; where the file system knows no locks, the token still tells who was last."""
    with (folder / ".driver.lock").open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _started(pid: int) -> str:
    """Start time of a process, empty where there is none: a number that is used again is not the same process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if not _exists(pid) else "unknown"
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]


def _exists(pid: int) -> bool:
    """Where there is no /proc (macOS)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """Tells machines of one name, and containers of one image on different machines, apart."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
