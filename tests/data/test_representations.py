"""The representations folder: what is written comes back, in any order of rows; anything amiss is refused by name."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bifair_dist.data import representations as rep
from bifair_dist.data.representations import reading
from bifair_dist.data.representations.number_format import STORED, from_stored, lengths, to_stored, unit_length
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


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("dtype", list(STORED))
def test_every_format_comes_back(dtype: str, ordered: bool, small_groups: None, tmp_path: Path) -> None:
    precise = np.random.default_rng(2).normal(size=(N, D))
    rep.write_representations(tmp_path / "z", IDS, precise, ABOUT, dtype=dtype, ordered=ordered)
    manifest = rep.check_representations(tmp_path / "z", IDS)
    assert (manifest["dtype"], manifest["ordered"]) == (dtype, ordered)
    rounded = torch.from_numpy(precise).to(getattr(torch, dtype)).double().numpy()  # another's rounding
    found = rep.read_rows(tmp_path / "z", IDS, 65, 215, np.float64)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, rounded[65:215])
    single = rep.read_rows(tmp_path / "z", IDS, 65, 215)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, rounded[65:215].astype(np.float32))


def test_bfloat16_rounds_to_nearest_even() -> None:
    bits = np.array(
        [0x3F808000, 0x3F818000, 0x3F808001, 0x3F817FFF, 0x00008000, 0x80018000, 0x7F7FFFFF, 0xFF800000, 0x7F800001],
        np.uint32,
    )
    upper = to_stored(bits.view(np.float32)[None], "bfloat16")
    assert [hex(int(b)) for b in upper[0]] == [
        *("0x3f80", "0x3f82", "0x3f81", "0x3f81", "0x0", "0x8002", "0x7f80", "0xff80", "0x7fc0")
    ]  # ties to even, up, down, subnormal, negative, overflow, -inf, NaN


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_bfloat16_rounds_as_torch_does(values: list[float]) -> None:
    ours = from_stored(to_stored(np.array(values, np.float32), "bfloat16"), "bfloat16")
    np.testing.assert_array_equal(ours, torch.tensor(values).bfloat16().float().numpy())


def test_unit_length() -> None:
    big = np.array([[3e20, 4e20], [0, 0], [1e-30, 0]], np.float32)  # squares that float32 does not have
    np.testing.assert_allclose(unit_length(big), np.array([[0.6, 0.8], [0, 0], [1, 0]]), rtol=1e-6)
    assert unit_length(big).dtype == np.float32
    np.testing.assert_allclose(lengths(unit_length(Z)), 1, atol=1e-6)


def test_value_too_large_for_the_format(tmp_path: Path) -> None:
    z = Z.copy()
    z[3, 1] = -70000
    with pytest.raises(UserError, match=f"item {IDS[3]!r} has a value of 7e[+]04, too large for float16"):
        rep.write_representations(tmp_path / "z", IDS, z, ABOUT, dtype="float16")
    assert list(tmp_path.iterdir()) == []
    rep.write_representations(tmp_path / "z", IDS, z, ABOUT, dtype="bfloat16")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Shards opened and row groups read, in order."""
    seen: dict[str, list[Any]] = {"shards": [], "groups": [], "columns": []}
    group, whole, opened = pq.ParquetFile.read_row_group, pq.ParquetFile.read, reading.open_shard

    def one(self: pq.ParquetFile, i: int, **more: Any) -> Any:
        seen["groups"].append(i)
        return group(self, i, **more)

    def all_of(self: pq.ParquetFile, **more: Any) -> Any:
        seen["columns"].append(more)
        return whole(self, **more)

    def shard(folder: Path, entry: dict[str, Any], manifest: dict[str, Any]) -> Any:
        seen["shards"].append(entry["file"])
        return opened(folder, entry, manifest)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", one)
    monkeypatch.setattr(pq.ParquetFile, "read", all_of)
    monkeypatch.setattr(reading, "open_shard", shard)
    return seen


def test_a_worker_opens_only_what_holds_its_rows(
    small_groups: None, tmp_path: Path, reads: dict[str, list[Any]]
) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z, ABOUT, ordered=True)
    found = rep.read_rows(tmp_path / "z", IDS, 205, 225)
    np.testing.assert_array_equal(found, Z[205:225])
    # Rows 200-209 are the last group of the third shard, 210-229 the first two of the fourth; no column is read whole.
    assert reads == {"shards": ["part-00002.parquet", "part-00003.parquet"], "groups": [6, 0, 1], "columns": []}
    assert rep.read_rows(tmp_path / "z", IDS, 1000, 1000).shape == (0, D)
    assert len(reads["shards"]) == 2


def test_only_needed_row_groups_of_any_order(small_groups: None, tmp_path: Path, reads: dict[str, list[Any]]) -> None:
    rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    rep.read_rows(tmp_path / "z", IDS, 205, 225)
    assert reads["groups"] == [6, 0, 1]
    assert len(reads["columns"]) == 15  # the ids of every shard


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_uneven_shards(data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rep, "GROUP_BYTES", data.draw(st.integers(1, 40)) * D * 4)
    cuts = sorted(data.draw(st.lists(st.integers(0, N), max_size=6)))
    ordered = data.draw(st.booleans())
    start, stop = sorted((data.draw(st.integers(0, N)), data.draw(st.integers(0, N))))
    with TemporaryDirectory() as folder:
        spans = list(itertools.pairwise([0, *cuts, N]))
        shards = [rep.write_shard(folder, n, IDS[a:b], Z[a:b]) for n, (a, b) in enumerate(spans)]
        rep.write_manifest(folder, shards, ABOUT, ordered=ordered)
        np.testing.assert_array_equal(rep.read_rows(folder, IDS, start, stop), Z[start:stop])
        assert rep.check_representations(folder, IDS)["rows"] == N


def test_version_1_is_read(small_groups: None, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(N)
    folder = rep.write_representations(tmp_path / "z", IDS[order], Z[order], ABOUT)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["ordered"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 1}))
    assert rep.check_representations(folder, IDS)["ordered"] is False
    np.testing.assert_array_equal(rep.read_rows(folder, IDS, 3, 40), Z[3:40])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 3}, "format version 3, this program reads 1 and 2"),
        ({"dtype": "int8"}, "dtype 'int8' is not one of float16"),
        ({"dtype": "float16"}, "column vector is fixed_size_list<.*float>.*, not 24 float16 in every row"),
        ({"dim": 23}, "not 23 float32 in every row"),
        ({"rows": 3}, "its shards have another sum"),
        ({"shards": [{"file": "part-00000.parquet"}]}, "not the manifest of item representations"),
    ],
)
def test_manifest_that_does_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = rep.write_representations(tmp_path / "z", IDS, Z, ABOUT, ordered=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    assert re.search(message, refused(folder))


def test_what_is_called_ordered_is_held_to_it(small_groups: None, tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[[71, 72]] = ids[[72, 71]]
    folder = rep.write_representations(tmp_path / "z", ids, Z, ABOUT, ordered=True)
    wrong = f"in item order, but row 71 is of item {IDS[72]!r} and not {IDS[71]!r}"
    assert wrong in refused(folder, call=rep.check_representations)
    assert wrong in refused(folder)
    np.testing.assert_array_equal(rep.read_rows(folder, IDS, 80, 90), Z[80:90])  # another worker's rows are not read


def test_ordered_for_another_dataset(small_groups: None, tmp_path: Path) -> None:
    folder = rep.write_representations(tmp_path / "z", IDS[2:], Z[2:], ABOUT, ordered=True)
    assert "2 items of the dataset have no vector ('i0', 'i1')" in refused(folder)
    other = IDS.copy()
    other[-1] = "j"
    folder = rep.write_representations(tmp_path / "y", other, Z, ABOUT, ordered=True)
    assert "1 items of the dataset have no vector ('i999'); 1 vectors belong to no item of it ('j')" in refused(folder)


def test_row_without_an_id(tmp_path: Path) -> None:
    ids = np.array([*IDS[:-1], None], dtype=object)
    for ordered in (True, False):
        folder = rep.write_representations(tmp_path / f"{ordered}", ids, Z, ABOUT, ordered=ordered)
        assert "part-00000.parquet: " in refused(folder, call=rep.check_representations)
        assert re.search("a row has no item_id|an id or a value of a vector is missing", refused(folder))


def test_table_of_failures_may_lie_beside(tmp_path: Path) -> None:
    folder = rep.write_representations(tmp_path / "z", IDS, Z, ABOUT, ordered=True)
    pq.write_table(pa.table({"item_id": ["i3"], "reason": ["x"]}), folder / "failed.parquet")
    assert rep.check_representations(folder, IDS)["rows"] == N


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

    def overtaken(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        monkeypatch.undo()
        rep.write_representations(tmp_path / "z", IDS[:5], Z[:5], ABOUT)

    monkeypatch.setattr(rep, "write_manifest", overtaken)
    monkeypatch.setattr(rep.os, "getpid", lambda: 1)
    with pytest.raises(UserError, match="another process wrote it"):
        rep.write_representations(tmp_path / "z", IDS, Z, ABOUT)
    assert rep.read_manifest(tmp_path / "z")["rows"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["z"]
