"""Vectors made elsewhere: every form gives the same folder, in item order; anything amiss is one line and no folder."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from bifair_dist.data import representations as rep
from bifair_dist.data.representations.reading import dataset_ids
from bifair_dist.embedding import sources
from bifair_dist.embedding.importing import fingerprint, import_vectors
from bifair_dist.embedding.settings import ImportSettings
from bifair_dist.errors import UserError
from bifair_dist.files import sha256

N, D, EXTRA = 230, 12, 20
RNG = np.random.default_rng(0)
ITEMS = sorted(f"i{n}" for n in range(N))
ORDER = RNG.permutation(N + EXTRA)
NAMES = [[*ITEMS, *(f"x{n}" for n in range(EXTRA))][i] for i in ORDER]  # in the order of a file
ALL = RNG.normal(size=(N + EXTRA, D))
Z, ROWS = ALL[:N], ALL[ORDER]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset folder and ids beside it; shards of 70 rows, groups of 10, batches of 33."""
    monkeypatch.setattr(rep, "GROUP_BYTES", 10 * D * 4)
    monkeypatch.setattr(rep, "SHARD_BYTES", 70 * D * 4)
    monkeypatch.setattr(sources, "BATCH", 33)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"item_id": ITEMS, "title": ITEMS}), tmp_path / "data" / "items.parquet")
    (tmp_path / "ids.txt").write_text("\n".join(NAMES) + "\n")
    (tmp_path / "ids.json").write_text(json.dumps(NAMES))
    return tmp_path


def lists(rows: npt.NDArray[np.floating], kind: str = "fixed") -> pa.Array:
    flat = pa.array(rows.reshape(-1))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    whole = pa.LargeListArray if kind == "large" else pa.ListArray
    offsets = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int64() if kind == "large" else pa.int32())
    return whole.from_arrays(offsets, flat)


def take(place: Path, vectors: str, ids: str = "", **more: Any) -> Path:
    return import_vectors(
        ImportSettings(
            dataset=str(place / "data"),
            vectors=str(place / vectors),
            ids=str(place / ids) if ids else "",
            output=str(place / "z"),
            **more,
        )
    )


def write(place: Path, form: str, rows: npt.NDArray[np.floating]) -> tuple[str, str]:
    """Write `ROWS` in some form; (vectors, ids)."""
    if form.startswith("npy"):
        order: Any = "F" if form == "npy fortran" else "C"
        np.save(place / "v.npy", np.asarray(rows, rows.dtype.newbyteorder(">") if form == "npy big" else None, order))
        return "v.npy", "ids.json" if form == "npy json" else "ids.txt"
    if form.startswith("safetensors"):
        save_file({form.split()[1]: rows, "other": rows[0]}, place / "v.safetensors")
        return "v.safetensors", "ids.txt"
    id_name, name = ("id", "embedding") if form == "parquet large" else ("item_id", "vector")
    table = pa.table({"more": ROWS[:, 0], name: lists(rows, form.split()[1]), id_name: NAMES})
    if form == "parquet folder":
        table = pa.table({name: lists(rows), id_name: pa.array(NAMES).dictionary_encode()})
        (place / "v").mkdir()
        for n, (a, b) in enumerate([(0, 100), (100, 100), (100, 250)]):
            pq.write_table(table.slice(a, b - a), place / "v" / f"{n}.parquet", row_group_size=37)
        pq.write_table(pa.table({"item_id": ["i3"]}), place / "v" / "failed.parquet")
        return "v", ""
    pq.write_table(table, place / "v.parquet", row_group_size=50)
    return "v.parquet", ""


FORMS = [
    *("npy txt", "npy json", "npy fortran", "npy big", "safetensors vectors", "safetensors z"),
    *("parquet fixed", "parquet list", "parquet large", "parquet folder"),
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_item_order(form: str, dtype: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ROWS.astype(dtype)
    folder = take(place, *write(place, form, rows), model="text-embedding-3-large")
    manifest = rep.check_representations(folder, ITEMS)
    assert (manifest["ordered"], manifest["dtype"], manifest["dim"]) == (True, dtype, D)
    assert (manifest["model"], manifest["normalised"], manifest["engine"]) == ("text-embedding-3-large", "", "import")
    assert manifest["left_out"] == EXTRA
    np.testing.assert_array_equal(rep.read_rows(folder, ITEMS, 60, 150, np.float64), Z.astype(dtype)[60:150])
    assert "20 rows of items that the dataset does not have ('x" in capsys.readouterr().out
    assert {p.name.split(".")[-1] for p in folder.iterdir()} == {"parquet", "json"}  # nothing of the way there


def test_source_is_named_by_its_content(place: Path) -> None:
    manifest = rep.read_manifest(take(place, *write(place, "npy txt", ROWS)))
    assert (manifest["source"], manifest["ids"]) == ("v.npy", "ids.txt")
    assert manifest["source_sha256"] == sha256(place / "v.npy")
    assert manifest["ids_sha256"] == sha256(place / "ids.txt")
    assert manifest["dataset"] == str(place / "data")
    files = (place / "v.npy", place / "ids.txt")
    assert len({fingerprint(files), fingerprint(files[::-1]), fingerprint(files[:1])}) == 3


@pytest.mark.parametrize("dtype", ["keep", "float16", "bfloat16", "float32"])
def test_format_and_length_as_asked(dtype: Any, place: Path) -> None:
    folder = take(place, *write(place, "npy txt", ROWS.astype(np.float32)), dtype=dtype, normalise=True)
    manifest = rep.read_manifest(folder)
    assert (manifest["dtype"], manifest["normalised"]) == ("float32" if dtype == "keep" else dtype, "l2")
    unit = torch.nn.functional.normalize(torch.from_numpy(Z), dim=1)
    error = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(dtype, 1e-6)
    np.testing.assert_allclose(rep.read_rows(folder, ITEMS), unit, rtol=error, atol=1e-7)


def test_bfloat16_tensor(place: Path) -> None:
    rows = torch.from_numpy(ROWS).bfloat16()
    save_torch({"vectors": rows}, place / "v.safetensors")
    folder = take(place, "v.safetensors", "ids.txt")
    assert rep.read_manifest(folder)["dtype"] == "bfloat16"
    np.testing.assert_array_equal(rep.read_rows(folder, ITEMS), torch.from_numpy(Z).bfloat16().float())


def test_zeros_are_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ROWS.copy()
    rows[[NAMES.index("i5"), NAMES.index("i7")]] = 0
    take(place, *write(place, "npy txt", rows))
    assert "2 items have a vector of zeros in v.npy" in capsys.readouterr().out


def test_windows_lines_and_numbers(place: Path) -> None:
    (place / "ids.txt").write_bytes(b"\xef\xbb\xbf10\r\n2 \r\n")
    assert sources.read_ids(place / "ids.txt").to_pylist() == ["10", "2 "]
    (place / "ids.json").write_text('[10, "2"]')
    assert sources.read_ids(place / "ids.json").to_pylist() == ["10", "2"]


def refused(place: Path, message: str, vectors: str, ids: str = "", **more: Any) -> None:
    before = sorted(p.name for p in place.iterdir())
    with pytest.raises(UserError) as error:
        take(place, vectors, ids, **more)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in place.iterdir()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("form", ["npy txt", "parquet list"])
def test_not_finite(value: float, form: str, place: Path) -> None:
    rows = ROWS.copy()
    row = NAMES.index("i5")
    rows[row, 3] = value
    refused(place, rf"v\.\w+: row {row} \(item 'i5'\) has a value that is not finite", *write(place, form, rows))


def test_ids_that_do_not_fit(place: Path) -> None:
    names = write(place, "npy txt", ROWS)
    (place / "ids.txt").write_text("\n".join("gone" if n in ("i0", "i1") else n for n in NAMES))
    refused(place, r"ids.txt: id 'gone' stands in rows \d+ and \d+ \(from 0\)", *names)
    (place / "ids.txt").write_text("\n".join(f"gone {n}" if n in ("i0", "i1") else n for n in NAMES))
    refused(place, r"ids.txt: 2 of 230 items of .*data have no vector \('i0', 'i1'\); the rows are of '", *names)
    (place / "ids.txt").write_text("\n".join(NAMES[:-1]))
    refused(place, r"ids.txt: 249 ids for 250 rows of v.npy", *names)
    (place / "ids.txt").write_text("\n".join(["a", "", *NAMES[2:]]))
    refused(place, r"ids.txt: line 2 is empty", *names)
    (place / "ids.txt").write_bytes(b"\xff\n")
    refused(place, r"ids.txt: cannot be read \(.*utf-8", *names)
    refused(place, r"none.txt: cannot be read \(No such file", "v.npy", "none.txt")
    for text, message in (
        ("{", "cannot be read"),
        ("{}", "is not a list"),
        ('["a", 1.5]', "entry 1 is 1.5, not an id"),
    ):
        (place / "ids.json").write_text(text)
        refused(place, message, "v.npy", "ids.json")


def test_files_that_are_not_read(place: Path) -> None:
    (place / "v.pt").write_text("")
    refused(place, r"v.pt: \.pt is not read; give \.npy", "v.pt")
    refused(place, r"v.npy: file is missing", "v.npy", "ids.txt")
    (place / "v").mkdir()
    refused(place, r"v: no \.parquet files here", "v")
    for name, kind in (("v.npy", r"\.npy"), ("v.safetensors", "safetensors"), ("v.parquet", "")):
        for content in (b"", b"something else that is long enough"):
            (place / name).write_bytes(content)
            refused(place, rf"{name}: cannot be read.*{kind}", name, "" if name == "v.parquet" else "ids.txt")


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(place: Path) -> None:
    np.save(place / "v.npy", np.array([[Trap(place / "sprung")]], dtype=object), allow_pickle=True)
    refused(place, r"v.npy: holds pickled Python objects, which are not read", "v.npy", "ids.txt")
    (place / "v.npy").write_bytes(pickle.dumps(Trap(place / "sprung")))
    refused(place, r"v.npy: cannot be read", "v.npy", "ids.txt")
    np.savez(place / "v.npz", np.zeros((2, 2)))
    (place / "v.npz").rename(place / "v.npy")
    refused(place, r"v.npy: cannot be read", "v.npy", "ids.txt")
    assert not (place / "sprung").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((250, 3), np.int8), "holds int8, not float16, float32, float64"),
        (np.zeros((250, 3), np.uint16), "holds uint16, not float16"),
        (np.zeros(250), r"shape is \(250,\), not rows and columns"),
        (np.zeros((0, 3)), r"shape is \(0, 3\)|cannot be read"),
        (np.zeros((250, 0)), r"shape is \(250, 0\)|cannot be read"),
        (np.zeros((250, 3)), r"row \d+ \(item 'i0'\) cannot be scaled to length 1"),
        (np.full((250, 3), 1e5), r"item 'i0' has a value of 1e\+05, too large for float16"),
    ],
)
def test_arrays_that_are_no_vectors(rows: npt.NDArray[Any], message: str, place: Path) -> None:
    np.save(place / "v.npy", rows)
    scale = not rows.size or rows.flat[0] == 0
    refused(place, f"{message}", "v.npy", "ids.txt", normalise=bool(scale), dtype="float16")


def test_array_that_is_cut_off(place: Path) -> None:
    for name in (write(place, "npy txt", ROWS)[0], write(place, "safetensors vectors", ROWS)[0]):
        (place / name).write_bytes((place / name).read_bytes()[:-100])
        refused(place, f"{name}: cannot be read", name, "ids.txt")


def test_tensors_that_do_not_fit(place: Path) -> None:
    save_file({"a": ROWS, "b": ROWS}, place / "v.safetensors")
    refused(place, r"has no tensor 'vectors' and 2 of two dimensions \(a, b\)", "v.safetensors", "ids.txt")
    save_file({"a": ROWS.astype(np.int32)}, place / "v.safetensors")
    refused(place, r"tensor 'a' holds I32, not F16, BF16, F32, F64", "v.safetensors", "ids.txt")
    save_file({"vectors": ROWS[0]}, place / "v.safetensors")
    refused(place, r"shape is \(12,\), not rows and columns", "v.safetensors", "ids.txt")


def broken(row: int, cell: Any) -> pa.Table:
    cells: list[Any] = ROWS.tolist()
    cells[row] = cell
    return pa.table({"item_id": NAMES, "vector": pa.array(cells, pa.list_(pa.float32()))})


def test_parquet_that_does_not_fit(place: Path) -> None:
    cases = [
        (broken(40, [1.0] * 11), rf"row 40 \(item '{NAMES[40]}'\) has 11 values, the rows before have 12"),
        (broken(40, None), rf"row 40 \(item '{NAMES[40]}'\) has no vector"),
        (broken(0, []), rf"row 0 \(item '{NAMES[0]}'\) has no vector"),
        (broken(40, [1.0] * 11 + [None]), rf"row 40 \(item '{NAMES[40]}'\) has an empty value"),
        (broken(1, [1.0] * 12).set_column(0, "item_id", [[*NAMES[:50], None, *NAMES[51:]]]), "row 50 has no id"),
        (pa.table({"item": NAMES, "vector": lists(ROWS)}), "no column item_id or id; it has item, vector"),
        (pa.table({"id": NAMES, "z": lists(ROWS)}), "no column vector or embedding; it has id, z"),
        (pa.table({"id": NAMES, "vector": NAMES}), "column vector is string, not lists of float16, float32, float64"),
        (broken(0, None).slice(0, 0), "no rows"),
    ]
    for table, message in cases:
        pq.write_table(table, place / "v.parquet")
        refused(place, rf"v\.parquet: {message}", "v.parquet")
    refused(place, "ids.txt: Parquet holds its ids itself, in item_id or id; leave out --ids", "v.parquet", "ids.txt")
    (place / "v").mkdir()
    pq.write_table(pa.table({"id": NAMES[:100], "vector": lists(ROWS[:100])}), place / "v" / "a.parquet")
    pq.write_table(pa.table({"id": NAMES[100:], "vector": lists(ROWS[100:, :5])}), place / "v" / "b.parquet")
    refused(place, "b.parquet: 5 columns of float64, but a.parquet has 12 of float64", "v")


def test_settings_and_places(place: Path) -> None:
    for name in ("dataset", "vectors", "output"):
        full = {"dataset": "d", "vectors": "v", "output": "z"} | {name: ""}
        with pytest.raises(UserError, match=f"--{name} is missing"):
            import_vectors(ImportSettings(**full))  # type: ignore[arg-type]
    write(place, "npy txt", ROWS)
    refused(place, "v.npy: holds no ids; give --ids FILE", "v.npy")
    (place / "z").mkdir()
    refused(place, "z: already exists", "v.npy", "ids.txt")
    (place / "z").rmdir()
    (place / "data" / "items.parquet").write_text("x")
    refused(place, "items.parquet: cannot be read", "v.npy", "ids.txt")
    pq.write_table(pa.table({"item_id": ["b", "a"]}), place / "data" / "items.parquet")
    refused(place, "item ids are not sorted and unique", "v.npy", "ids.txt")
    (place / "data" / "items.parquet").unlink()
    refused(place, "no dataset here", "v.npy", "ids.txt")


def test_no_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    names = write(place, "npy txt", ROWS)
    monkeypatch.setattr(rep.pq, "write_table", full)
    refused(place, r"z: cannot be written \(No space left on device\); make room", *names)


def test_ids_of_a_dataset(place: Path) -> None:
    assert dataset_ids(place / "data").to_pylist() == ITEMS


def test_parquet_is_read_in_pieces(place: Path) -> None:
    """Arrow would keep every row group of a file that is open, buffered ahead as it does unless told otherwise."""
    rows = RNG.normal(size=(40_000, 64)).astype(np.float32)
    table = pa.table({"id": [str(i) for i in range(len(rows))], "vector": lists(rows)})
    pq.write_table(table, place / "v.parquet", row_group_size=1000, use_dictionary=False)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for _ in sources._batches(place / "v.parquet"):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < rows.nbytes / 4
