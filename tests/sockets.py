"""Which addresses processes listen at, as Linux tells."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from pathlib import Path


def listening(root: int) -> set[str]:
    """Addresses at which process `root` and all those below it listen."""
    held = {inode for pid in (root, *descendants(root)) for inode in _sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and cells[9] in held:  # it listens; the number of the socket
                number = bytes.fromhex(cells[1].partition(":")[0])
                words = b"".join(number[at : at + 4][::-1] for at in range(0, len(number), 4))
                address = ipaddress.ip_address(words)
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


def _sockets(pid: int) -> set[str]:
    links = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                links.add(os.readlink(entry))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def descendants(pid: int) -> set[int]:
    """Processes that `pid` started, and those that they started."""
    above = parents()
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in above.items() if parent in new} - found
        found |= new
    return found


def parents() -> dict[int, int]:
    """Parent of every process of this machine."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            table[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return table
