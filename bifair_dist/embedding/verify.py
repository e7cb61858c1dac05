"""Everything in a representations folder read again and held against its manifest (`jobs/embed.py verify`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.data.representations.manifest import read_manifest
from bifair_dist.data.representations.number_format import lengths
from bifair_dist.data.representations.reading import (
    as_arrow,
    blocks,
    check_files,
    check_ids,
    dataset_ids,
    first_double,
    stored_ids,
)
from bifair_dist.embedding.settings import VerifySettings
from bifair_dist.errors import UserError

EmbedAgain = Callable[[Mapping[str, Any], Sequence[str]], npt.NDArray[np.floating]]

LENGTH_ERROR = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-3, "bfloat16": 4e-3}
"""How far a stored vector's length may be from 1: float32 arithmetic, or one rounding of every value."""
COSINE = {"float64": 0.9999, "float32": 0.9999, "float16": 0.999, "bfloat16": 0.999}
"""Least cosine of a stored vector to the same item embedded again."""


@dataclass(slots=True)
class _Seen:
    """What the one pass over all vectors leaves: where the zero ones and the sampled ones are."""

    zeros: set[str] = field(default_factory=set)
    where: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    vectors: list[npt.NDArray[np.floating]] = field(default_factory=list)


def verify(settings: VerifySettings, embed_again: EmbedAgain | None) -> list[str]:
    """Lines for a person that say what was checked and holds. Raises `UserError`, file and row, at the first fault.

    `embed_again(manifest, item_ids)` gives vectors [n, d] made as the manifest says; None: nothing is embedded again.
    """
    if not settings.output:
        raise UserError("--output FOLDER is missing")
    folder = Path(settings.output).expanduser()
    manifest = read_manifest(folder)
    rows, dtype = manifest["rows"], manifest["dtype"]
    order = "in item order" if manifest["ordered"] else "in any order"
    lines = [f"{folder}: {rows:,} vectors, {manifest['dim']} columns of {dtype}, {order}"]
    check_files(folder, manifest)
    unknown = sorted({p.name for p in folder.glob("part-*.parquet")} - {s["file"] for s in manifest["shards"]})
    if unknown:
        raise UserError(f"{folder / unknown[0]}: is not in manifest.json; remove it, or make the representations again")
    lines.append(f"checksums: {len(manifest['shards']):,} files are as they were written")
    dataset = _dataset(settings, manifest)
    lines.append(_check_ids(folder, manifest, dataset))
    failed = _failed(folder, manifest)
    seen = _read_all(folder, manifest, failed, settings.sample)
    unit = f", every length is 1 within {LENGTH_ERROR[dtype]:g}" if manifest.get("normalised") == "l2" else ""
    lines.append(f"values: all are finite{unit}")
    if failed or "failed" in manifest:
        lines.append(f"failed: {len(failed):,} items, as in the manifest; their vectors are zero, no other is")
    elif seen.zeros:
        lines.append(f"zeros: {len(seen.zeros):,} vectors, such as that of item {min(seen.zeros)!r}")
    lines.append(_compare(manifest, dataset, seen, embed_again))
    return lines


def _dataset(settings: VerifySettings, manifest: Mapping[str, Any]) -> Path | None:
    """The dataset named in the settings, or the manifest's where it is on this machine."""
    if settings.dataset:
        return Path(settings.dataset).expanduser()
    known = Path(manifest.get("dataset") or "")
    return known if manifest.get("dataset") and known.is_dir() else None


def _check_ids(folder: Path, manifest: Mapping[str, Any], dataset: Path | None) -> str:
    if dataset is not None:
        check_ids(folder, manifest, dataset_ids(dataset))
        return f"ids: exactly the items of {dataset}"
    double = first_double(stored_ids(folder, manifest))
    if double is not None:
        raise UserError(f"{folder}: item {double!r} has more than one vector; make the representations again")
    there = f"{manifest['dataset']} is not here" if manifest.get("dataset") else "the manifest names no dataset"
    return f"ids: no two are equal; NOT compared with a dataset ({there}; give --dataset)"


def _failed(folder: Path, manifest: Mapping[str, Any]) -> dict[str, int]:
    """Row in failed.parquet of every item that failed."""
    path, expected = folder / "failed.parquet", manifest.get("failed", 0)
    if not path.is_file():
        if expected:
            raise UserError(f"{path}: file is missing, but manifest.json has {expected:,} failed items; embed again")
        return {}
    try:
        table = pq.read_table(path, columns=["item_id", "reason"])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); embed again") from None
    ids = as_arrow(table["item_id"]).to_pylist()
    found = {item: row for row, item in enumerate(ids)}
    if len(found) != len(ids) or len(ids) != expected:
        raise UserError(
            f"{path}: {len(ids):,} rows of {len(found):,} items, manifest.json has {expected:,} failed items"
        )
    return found


def _read_all(folder: Path, manifest: Mapping[str, Any], failed: Mapping[str, int], sample: int) -> _Seen:
    """Check every value and length. Raises `UserError` with file and row of the first that is wrong."""
    unit, tolerance = manifest.get("normalised") == "l2", LENGTH_ERROR[manifest["dtype"]]
    chosen = np.unique(np.linspace(0, manifest["rows"] - 1, min(sample, manifest["rows"])).round().astype(np.int64))
    seen, first = _Seen(), 0  # of this row group, over all shards

    for path, row, ids, vectors in blocks(folder, manifest):

        def refuse(bad: npt.NDArray[Any], what: str, path: Path = path, row: int = row, ids: pa.Array = ids) -> None:
            if bad.any():
                i = int(np.argmax(bad))
                raise UserError(
                    f"{path}: row {row + i} (item {ids[i].as_py()!r}): {what}; make the representations again"
                )

        refuse(np.asarray(~np.isfinite(vectors).all(axis=1)), "a value is not finite")
        zero = np.asarray(~vectors.any(axis=1))
        listed = np.zeros(len(zero), np.bool_)
        for i in np.flatnonzero(zero):
            seen.zeros.add(ids[int(i)].as_py())
            listed[i] = ids[int(i)].as_py() in failed
        if "failed" in manifest:
            refuse(zero & ~listed, "the vector is zero, but failed.parquet does not have the item")
        if unit:
            refuse(
                (np.abs(lengths(vectors) - 1) > tolerance) & ~listed, "the length is not 1, as manifest.json says it is"
            )
        for i in chosen[(chosen >= first) & (chosen < first + len(ids))] - first:
            if not zero[i]:
                seen.where.append(f"{path}: row {row + i}")
                seen.items.append(ids[int(i)].as_py())
                seen.vectors.append(vectors[i].copy())
        first += len(ids)
    for item, row in failed.items():
        if item not in seen.zeros:
            raise UserError(
                f"{folder / 'failed.parquet'}: row {row}: item {item!r} has no vector of zeros; embed again"
            )
    return seen


def _compare(manifest: Mapping[str, Any], dataset: Path | None, seen: _Seen, embed_again: EmbedAgain | None) -> str:
    """Embed the sampled items again. Raises `UserError` for the first that is another vector."""
    if not seen.items:
        return "embedded again: none (no sample)"
    reasons = {
        "the vectors were imported, what made them is not here": manifest.get("engine") == "import",
        "manifest.json does not tell how they were made": "settings" not in manifest,
        "without the dataset there are no texts": dataset is None,
        "there is no engine": embed_again is None,
    }
    for reason, holds in reasons.items():
        if holds:
            return f"embedded again: NONE ({reason})"
    assert embed_again is not None
    again = np.asarray(embed_again({**manifest, "dataset": str(dataset)}, seen.items), np.float64)
    stored = np.stack(seen.vectors).astype(np.float64)
    if again.shape != stored.shape:
        raise UserError(f"embedded again, items have {again.shape[-1]} columns, stored are {stored.shape[1]}")
    scale = np.linalg.norm(again, axis=1) * np.linalg.norm(stored, axis=1)
    cosine = (again * stored).sum(axis=1) / np.where(scale > 0, scale, 1.0)
    least = COSINE[manifest["dtype"]]
    bad = np.flatnonzero(~(cosine > least))
    if len(bad):
        i = int(bad[0])
        raise UserError(
            f"{seen.where[i]} (item {seen.items[i]!r}): cosine to the same item embedded again is {cosine[i]:.6f}, not "
            f"above {least}; texts, model or settings are not those of manifest.json"
        )
    return f"embedded again: {len(cosine):,} items, least cosine {cosine.min():.7f} (above {least})"
