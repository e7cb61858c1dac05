"""`provenance.json`: the program and the data that made a run, so that its figures can be traced to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Provenance:
    """Empty for runs of versions that wrote none.

    commits: those of the programs that trained the run, more than one where another took it up after a cut. data: the
    SHA-256 of the manifest in each folder of data, by the setting that names the folder; None where there was none.
    """

    version: str = ""
    commits: tuple[str, ...] = ()
    data: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Provenance:
        """From the file's content."""
        return cls(record.get("version", ""), tuple(record.get("commits", ())), record.get("data", {}))

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {"version": self.version, "commits": list(self.commits), "data": dict(self.data)}
