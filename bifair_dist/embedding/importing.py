"""Vectors made elsewhere into a representations folder (`jobs/embed.py import`), in the dataset's item order.

Memory: the ids and one shard; the vectors stay on disk. Vectors from Parquet need their size in free disk meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.representations import building, rows_per_shard, write_manifest, write_shard
from bifair_dist.data.representations.number_format import from_stored, lengths, unit_length
from bifair_dist.data.representations.reading import dataset_ids, first_double, listed
from bifair_dist.embedding.settings import ImportSettings
from bifair_dist.embedding.sources import Source, open_source
from bifair_dist.errors import UserError
from bifair_dist.files import sha256
from bifair_dist.progress import Progress


def import_vectors(settings: ImportSettings) -> Path:
    """Check the vectors against the dataset and write the folder, or nothing.

    Rows of items that the dataset has not are left out and counted. Raises `UserError` for what cannot be read, items
    without a vector or with two, and values that are not finite.
    """
    for name in ("dataset", "vectors", "output"):
        if not getattr(settings, name):
            raise UserError(f"--{name} is missing")
    dataset, vectors = Path(settings.dataset).expanduser(), Path(settings.vectors).expanduser()
    ids = Path(settings.ids).expanduser() if settings.ids else None
    items = dataset_ids(dataset)
    with building(Path(settings.output).expanduser()) as place:
        scratch = place / "scratch"
        scratch.mkdir()
        source = open_source(vectors, ids, scratch)
        rows, extra = match(source.ids, items, ids or vectors, dataset)
        dtype = source.dtype if settings.dtype == "keep" else settings.dtype
        shards, zeros = _write(place, source, items, rows, dtype, settings.normalise)
        about = {
            "model": settings.model,
            "engine": "import",
            "source": vectors.name,
            "source_sha256": fingerprint(source.files),
            "source_dtype": source.dtype,
            **({"ids": ids.name, "ids_sha256": sha256(ids)} if ids else {}),
            "left_out": len(extra),
            "normalised": "l2" if settings.normalise else "",
            "dataset": str(dataset.absolute()),
        }
        for file in scratch.iterdir():
            file.unlink()
        scratch.rmdir()
        write_manifest(place, shards, about, ordered=True)
    if len(extra):
        print(f"left out: {listed(extra, 'rows of items that the dataset does not have')}", flush=True)
    if zeros:
        print(f"{zeros:,} items have a vector of zeros in {vectors.name}", flush=True)
    output, width = Path(settings.output).expanduser(), source.stored.shape[1]
    print(f"{len(items):,} items, {width} columns of {dtype}; written to {output}", flush=True)
    return output


def match(have: pa.Array, items: pa.Array, named: Path, dataset: Path) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """(row of every item, int64 [N]; ids that are no items). Raises `UserError` for double and missing ids."""
    double = first_double(have)
    if double is not None:
        at = np.flatnonzero(pc.equal(have, double).to_numpy(zero_copy_only=False))
        raise UserError(f"{named}: id {double!r} stands in rows {at[0]} and {at[1]} (from 0); keep one of them")
    found = pc.index_in(items, value_set=have)
    missing = items.filter(pc.is_null(found))
    if len(missing):
        said = listed(missing, f"of {len(items):,} items of {dataset} have no vector")
        raise UserError(f"{named}: {said}; the rows are of {', '.join(repr(i) for i in have[:3].to_pylist())}, ...")
    rows: npt.NDArray[np.int64] = found.to_numpy().astype(np.int64)
    return rows, have.filter(pc.invert(pc.is_in(have, value_set=items)))


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 of a file; of several, that of their names and checksums, a line each."""
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(f"{file.name}:{sha256(file)}\n" for file in files).encode()).hexdigest()


def _write(
    place: Path, source: Source, items: pa.Array, rows: npt.NDArray[np.int64], dtype: str, normalise: bool
) -> tuple[list[dict[str, object]], int]:
    """Shards in item order, and how many vectors are zero."""
    shards: list[dict[str, object]] = []
    zeros, size = 0, rows_per_shard(source.stored.shape[1], dtype)
    with Progress(f"taking in {source.files[0].name}", len(rows), "items") as progress:
        for number, start in enumerate(range(0, len(rows), size)):
            chosen = rows[start : start + size]
            vectors = from_stored(np.asarray(source.stored[chosen]), source.dtype)
            zero = ~vectors.any(axis=1)
            _refuse(~np.isfinite(vectors).all(axis=1), "has a value that is not finite", source, chosen)
            if normalise:
                _refuse(zero | ~np.isfinite(lengths(vectors)), "cannot be scaled to length 1", source, chosen)
                vectors = unit_length(vectors)
            shards.append(write_shard(place, number, items[start : start + size], vectors, dtype=dtype))
            zeros += int(zero.sum())
            progress.update(len(chosen))
    return shards, zeros


def _refuse(bad: npt.NDArray[np.bool_], what: str, source: Source, rows: npt.NDArray[np.int64]) -> None:
    if bad.any():
        row = int(rows[int(np.argmax(bad))])
        item, name = source.ids[row].as_py(), source.files[0] if len(source.files) == 1 else source.files[0].parent
        raise UserError(f"{name}: row {row} (item {item!r}) {what}; {int(bad.sum()):,} such rows were found so far")
