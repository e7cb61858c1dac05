"""The representations folder: what is written comes back, in any order of rows; anything amiss is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from bifair_dist.embedding import representations as rep
from bifair_dist.errors import UserError

ABOUT = {"model": "test", "normalised": "no"}
N, D = 1000, 24
IDS = np.array(sorted(f"i{n}" for n in range(N)), dtype=object)
Z = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 10 rows and shards of 70, so that a thousand rows make many of both."""
    monkeypatch.setattr(rep, "GROUP_BYTES", 10 * D * 4)
    monkeypatch.setattr(rep, "SHARD_BYTES", 70 * D * 4)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, N), (0, 1), (69, 71), (333, 667), (999, 1000), (5, 5)])
def test_rows_come_back(start: int, stop: int | None, small_groups: None, tmp_path: Path) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    assert len(list((tmp_path / "z").glob("part-*.parquet"))) == 15
    found = rep.read_rows(tmp_path / "z", IDS, start, stop)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, Z[start:stop])


def test_any_order_of_rows_and_shards(small_groups: None, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(N)
    rep.write_representations(tmp_path / "z", IDS[order], Z[order], ABOUT)
    np.testing.assert_array_equal(rep.read_rows(tmp_path / "z", IDS, 100, 250), Z[100:250])
    rep.check_representations(tmp_path / "z", IDS)


def test_workers_write_shards_of_one_folder(tmp_path: Path) -> None:
    shards = [
        rep.write_shard(tmp_path, r, IDS[r * 300 : (r + 1) * 300], Z[r * 300 : (r + 1) * 300]) for r in (2, 0, 3, 1)
    ]
    with pytest.raises(UserError, match=r"manifest\.json not found"):
        rep.read_manifest(tmp_path)
    rep.write_manifest(tmp_path, shards, ABOUT)
    assert rep.check_representations(tmp_path, IDS)["rows"] == N
    np.testing.assert_array_equal(rep.read_rows(tmp_path, IDS), Z)


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    shards = [rep.write_shard(tmp_path, 0, IDS, Z), rep.write_shard(tmp_path, 1, IDS[:0], Z[:0])]
    rep.write_manifest(tmp_path, shards, ABOUT)
    np.testing.assert_array_equal(rep.read_rows(tmp_path, IDS, 990), Z[990:])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_formats(dtype: Any, tmp_path: Path) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z.astype(dtype), ABOUT)
    assert rep.read_manifest(tmp_path / "z")["dtype"] == np.dtype(dtype).name
    np.testing.assert_array_equal(rep.read_rows(tmp_path / "z", IDS), Z.astype(dtype).astype(np.float32))


def test_only_needed_row_groups_are_read(small_groups: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    read: list[int] = []
    real = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, i: int, **more: Any) -> Any:
        read.append(i)
        return real(self, i, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    rep.read_rows(tmp_path / "z", IDS, 205, 225)
    assert len(read) == 3  # rows 200-229, of 100 groups


def test_manifest_tells_how_they_were_made(tmp_path: Path) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    manifest = json.loads((tmp_path / "z" / "manifest.json").read_text())
    assert {"model", "rows", "dim", "dtype", "normalised", "shards", "format_version"} <= manifest.keys()
    assert (manifest["rows"], manifest["dim"], manifest["dtype"], manifest["model"]) == (N, D, "float32", "test")
    schema = pq.read_schema(tmp_path / "z" / "part-00000.parquet")
    assert str(schema.field("vector").type).startswith(f"fixed_size_list<element: float>[{D}]")


def refused(folder: Path, ids: npt.NDArray[np.object_] = IDS, call: Any = rep.read_rows) -> str:
    with pytest.raises(UserError) as error:
        call(folder, ids)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_ids_that_differ_are_named(tmp_path: Path) -> None:
    folder = rep.write_representations(tmp_path / "z", IDS[2:], Z[2:], ABOUT)
    line = refused(folder)
    assert "2 items of the dataset have no vector ('i0', 'i1')" in line
    assert "belong to no item" not in line
    line = refused(folder, IDS[10:])
    assert "8 vectors belong to no item of it ('i10', 'i100', 'i101', ...)" in line
    assert "have no vector" not in line
    assert "have no vector" in refused(folder, call=rep.check_representations)


def test_item_with_two_vectors(tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[7] = ids[3]
    assert f"item {IDS[3]!r} has more than one vector" in refused(
        rep.write_representations(tmp_path / "z", ids, Z, ABOUT)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vector_that_is_not_finite(value: float, tmp_path: Path) -> None:
    z = Z.copy()
    z[[41, 50], 3] = value
    folder = rep.write_representations(tmp_path / "z", IDS, z, ABOUT)
    assert f"2 vectors are not finite, the first of item {IDS[41]!r}" in refused(folder)


def test_damage_is_found(tmp_path: Path) -> None:
    folder = rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    shard = folder / "part-00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert "checksum differs" in refused(folder, call=rep.check_representations)
    shard.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(folder)
    shard.unlink()
    assert "file is missing" in refused(folder, call=rep.check_representations)
    assert "cannot be read" in refused(folder)
    (folder / "manifest.json").write_text('{"format": "other"}')
    assert "not the manifest of item representations" in refused(folder)
    (folder / "manifest.json").write_text("{")
    assert "not the manifest of item representations" in refused(folder)


def test_target_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    with pytest.raises(UserError, match="already exists"):
        rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    assert list((tmp_path / "z").iterdir()) == []


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        rep.write_representations(tmp_path / "z", IDS, Z, {"model": object()})
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_slower_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rep.write_manifest

    def overtaken(*arguments: Any) -> None:
        real(*arguments)
        monkeypatch.undo()
        rep.write_representations(tmp_path / "z", IDS[:5], Z[:5], ABOUT)

    monkeypatch.setattr(rep, "write_manifest", overtaken)
    monkeypatch.setattr(rep.os, "getpid", lambda: 1)
    with pytest.raises(UserError, match="another process wrote it"):
        rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    assert rep.read_manifest(tmp_path / "z")["rows"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["z"]
