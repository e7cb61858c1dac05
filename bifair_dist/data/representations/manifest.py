"""`manifest.json` of a representations folder: which shards it has, in which form, and how the vectors were made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bifair_dist.data.representations.number_format import STORED
from bifair_dist.errors import UserError, inside
from bifair_dist.files import write_json

FORMAT = "bifair-representations"
FORMAT_VERSION = 2
"""Version 1 had neither `ordered` nor bfloat16; it is read as well."""


def write_manifest(
    folder: str | Path, shards: Iterable[Mapping[str, Any]], about: Mapping[str, Any], *, ordered: bool = False
) -> None:
    """Complete a folder: `shards` are the entries that `write_shard` returned, in any order.

    `ordered`: the rows of all shards, by their numbers, are exactly the dataset's items in its order, so that a reader
    finds an item's row without looking at ids. Only the caller knows.
    """
    listed = sorted(shards, key=lambda s: str(s["file"]))
    dims, dtypes = {s["dim"] for s in listed}, {s["dtype"] for s in listed}
    if len(dims) != 1 or len(dtypes) != 1:
        raise ValueError(f"shards differ in width {dims} or format {dtypes}")
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "rows": sum(s["rows"] for s in listed),
        "dim": dims.pop(),
        "dtype": dtypes.pop(),
        "ordered": ordered,
        **about,
        "shards": [{k: s[k] for k in ("file", "rows", "sha256")} for s in listed],
    }
    path = Path(folder) / "manifest.json"
    write_json(path, manifest, indent=1)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder, checked for its form. Raises `UserError`.

    `ordered` and `key` (the name of the column of ids) are there in any version.
    """
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: no item representations here (manifest.json not found); make them with jobs/embed.py"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        complete = manifest["format"] == FORMAT and all(k in manifest for k in ("rows", "dim", "dtype", "shards"))
        complete = complete and all(k in shard for shard in manifest["shards"] for k in ("file", "rows", "sha256"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise UserError(f"{path}: not the manifest of item representations; make them again with jobs/embed.py")
    if version not in (1, FORMAT_VERSION):
        raise UserError(f"{path}: format version {version}, this program reads 1 and {FORMAT_VERSION}; embed again")
    if manifest["dtype"] not in STORED:
        raise UserError(f"{path}: dtype {manifest['dtype']!r} is not one of {', '.join(STORED)}; embed again")
    if manifest["rows"] != sum(shard["rows"] for shard in manifest["shards"]):
        raise UserError(f"{path}: rows is {manifest['rows']}, but its shards have another sum; embed again")
    for shard in manifest["shards"]:
        inside(shard["file"], str(path))
    return {"key": "item_id", **manifest, "ordered": version > 1 and manifest.get("ordered") is True}
