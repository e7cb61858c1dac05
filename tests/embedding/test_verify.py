"""The check of a folder: what holds is said, the first thing wrong is named with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bifair_dist.data import representations as rep
from bifair_dist.data.representations.number_format import STORED, unit_length
from bifair_dist.embedding.settings import VerifySettings
from bifair_dist.embedding.verify import verify
from bifair_dist.errors import UserError

N, D = 300, 16
IDS = sorted(f"i{n}" for n in range(N))
Z = unit_length(np.random.default_rng(0).normal(size=(N, D)).astype(np.float32))
FAILED = (12, 250)

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write a dataset and a folder as the embedding job does, in shards of 100 rows; keywords change the manifest."""
    monkeypatch.setattr(rep, "GROUP_BYTES", 30 * D * 4)
    monkeypatch.setattr(rep, "SHARD_BYTES", 100 * D * 4)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"item_id": IDS}), tmp_path / "data" / "items.parquet")

    def written(
        z: npt.NDArray[np.floating] = Z, dtype: str = "float32", failed: Sequence[int] = (), **about: Any
    ) -> Path:
        z = z.copy()
        z[list(failed)] = 0
        told = {"normalised": "l2", "dataset": str(tmp_path / "data"), "settings": {}, "failed": len(failed)} | about
        folder = rep.write_representations(tmp_path / "z", IDS, z, told, dtype=dtype, ordered=True)
        if failed:
            table = pa.table({"item_id": [IDS[i] for i in failed], "reason": ["broke"] * len(failed)})
            pq.write_table(table, folder / "failed.parquet")
        return folder

    return written


class Again:
    """An engine that gives the vectors `z`, and remembers what it was asked for."""

    def __init__(self, z: npt.NDArray[np.floating] = Z) -> None:
        self.z, self.asked, self.manifest = z, [""], dict[str, Any]()

    def __call__(self, manifest: Mapping[str, Any], item_ids: Sequence[str]) -> npt.NDArray[np.floating]:
        self.asked, self.manifest = list(item_ids), dict(manifest)
        return self.z[[IDS.index(i) for i in item_ids]]


def check(folder: Path, again: Again | None = None, **settings: Any) -> list[str]:
    return verify(VerifySettings(output=str(folder), **settings), again)


def fault(folder: Path, again: Again | None = None, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        check(folder, again, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", list(STORED))
def test_a_good_folder(dtype: str, make: Make) -> None:
    folder, again = make(dtype=dtype, failed=FAILED), Again()
    lines = check(folder, again, sample=20)
    size = np.dtype(STORED[dtype]).itemsize
    assert lines[0] == f"{folder}: 300 vectors, 16 columns of {dtype}, in item order"
    assert lines[1] == f"checksums: {-(-300 * size // 400)} files are as they were written"
    assert lines[2] == f"ids: exactly the items of {folder.parent / 'data'}"
    assert lines[3].startswith("values: all are finite, every length is 1 within ")
    assert lines[4] == "failed: 2 items, as in the manifest; their vectors are zero, no other is"
    assert lines[5].startswith("embedded again: 20 items, least cosine ")
    assert again.asked == [IDS[i] for i in np.linspace(0, N - 1, 20).round().astype(int)]
    assert check(folder, again, sample=20) == lines


def test_sample_leaves_out_what_failed_and_never_more_than_there_is(make: Make) -> None:
    again = Again()
    check(make(failed=FAILED), again, sample=1000)
    assert again.asked == [item for row, item in enumerate(IDS) if row not in FAILED]


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({"engine": "import"}, {}, "NONE (the vectors were imported"),
        ({"dataset": "/nowhere"}, {}, "NONE (without the dataset"),
        ({}, {"sample": 0}, "none (no sample)"),
    ],
)
def test_why_nothing_is_embedded_again(
    change: dict[str, Any], settings: dict[str, Any], reason: str, make: Make
) -> None:
    lines = check(make(**change), Again(np.zeros((N, D))), **settings)
    assert reason in lines[-1]
    if "dataset" in change:
        assert "no two are equal; NOT compared with a dataset (/nowhere is not here; give --dataset)" in lines[2]


def test_no_engine(make: Make) -> None:
    assert "NONE (there is no engine)" in check(make())[-1]


def test_dataset_that_has_moved(make: Make, tmp_path: Path) -> None:
    again = Again()
    lines = check(make(dataset="/nowhere"), again, dataset=str(tmp_path / "data"))
    assert again.manifest["dataset"] == str(tmp_path / "data")
    assert "exactly the items of" in lines[2]
    assert "no dataset here" in fault(tmp_path / "z", dataset=str(tmp_path / "none"))


@pytest.mark.parametrize(("dtype", "wrong", "fine"), [("float32", 0.9998, 0.99995), ("bfloat16", 0.998, 0.9995)])
def test_another_vector_is_found(dtype: str, wrong: float, fine: float, make: Make) -> None:
    def turned(cosine: float) -> Again:
        """Row 230 turned until its cosine with what it was is `cosine`."""
        z = Z.astype(np.float64)
        across = z[0] - (z[0] @ z[230]) * z[230]
        z[230] = cosine * z[230] + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)
        return Again(z)

    folder = make(dtype=dtype)
    least = float(check(folder, turned(fine), sample=N)[-1].split("least cosine ")[1].split()[0])
    assert least == pytest.approx(fine, abs=1e-4 if dtype == "bfloat16" else 1e-6)
    name = "part-00002.parquet: row 30" if dtype == "float32" else "part-00001.parquet: row 30"
    line = fault(folder, turned(wrong), sample=N)
    assert f"{name} (item {IDS[230]!r}): cosine to the same item embedded again is 0.99" in line
    assert float(line.split("again is ")[1].split(",")[0]) == pytest.approx(wrong, abs=1e-4)


def test_engine_of_another_width(make: Make) -> None:
    assert "embedded again, items have 5 columns, stored are 16" in fault(make(), Again(Z[:, :5]))


def test_engine_that_gives_nan(make: Make) -> None:
    assert "cosine to the same item embedded again is nan" in fault(make(), Again(np.full((N, D), np.nan)))


def changed(row: int, value: float) -> npt.NDArray[np.float32]:
    z = Z.copy()
    z[row] = value
    return z


@pytest.mark.parametrize(
    ("value", "about", "message"),
    [
        (np.nan, {}, "a value is not finite"),
        (np.inf, {"normalised": ""}, "a value is not finite"),
        (0.26, {}, "the length is not 1, as manifest.json says it is"),
        (0, {"normalised": ""}, "the vector is zero, but failed.parquet does not have the item"),
        (0, {"normalised": ""}, "the vector is zero, but failed.parquet does not have the item"),
    ],
)
def test_wrong_vector_is_named(value: float, about: dict[str, Any], message: str, make: Make) -> None:
    line = fault(make(changed(237, value), **about))
    assert f"part-00002.parquet: row 37 (item {IDS[237]!r}): {message}" in line


def test_lengths_are_free_where_not_normalised(make: Make) -> None:
    assert check(make(3 * Z, normalised=""))[3] == "values: all are finite"


def test_zeros_of_vectors_from_elsewhere_are_said(make: Make, tmp_path: Path) -> None:
    folder = make(changed(237, 0), normalised="", engine="import")
    edit(folder, failed=None)
    assert check(folder)[4] == f"zeros: 1 vectors, such as that of item {IDS[237]!r}"


def edit(folder: Path, **change: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def test_failures_that_do_not_agree(make: Make) -> None:
    folder = make(failed=FAILED)
    table = pq.read_table(folder / "failed.parquet")
    edit(folder, failed=3)
    assert "failed.parquet: 2 rows of 2 items, manifest.json has 3 failed items" in fault(folder)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), folder / "failed.parquet")
    assert "failed.parquet: 3 rows of 2 items" in fault(folder)
    pq.write_table(
        pa.table({"item_id": [*table["item_id"].to_pylist(), "i7"], "reason": ["x"] * 3}), folder / "failed.parquet"
    )
    assert "failed.parquet: row 2: item 'i7' has no vector of zeros" in fault(folder)
    (folder / "failed.parquet").write_text("x")
    assert "failed.parquet: cannot be read" in fault(folder)
    (folder / "failed.parquet").unlink()
    assert "failed.parquet: file is missing, but manifest.json has 3 failed items" in fault(folder)


def test_files_that_changed(make: Make) -> None:
    folder = make()
    (folder / "part-00009.parquet").write_bytes(b"")
    assert "part-00009.parquet: is not in manifest.json" in fault(folder)
    (folder / "part-00009.parquet").unlink()
    whole = (folder / "part-00001.parquet").read_bytes()
    (folder / "part-00001.parquet").write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    assert "part-00001.parquet: checksum differs" in fault(folder)


def test_ids_of_another_dataset(make: Make, tmp_path: Path) -> None:
    folder = make()
    pq.write_table(pa.table({"item_id": [*IDS[1:], "j"]}), tmp_path / "data" / "items.parquet")
    line = fault(folder)
    assert "1 items of the dataset have no vector ('j'); 1 vectors belong to no item of it ('i0')" in line


def test_two_vectors_of_one_item_without_a_dataset(tmp_path: Path) -> None:
    ids = [*IDS[:-1], IDS[4]]
    rep.write_representations(tmp_path / "z", ids, Z, {"normalised": "l2"})
    assert f"item {IDS[4]!r} has more than one vector" in fault(tmp_path / "z")


def test_folder_must_be_named() -> None:
    with pytest.raises(UserError, match="--output FOLDER is missing"):
        verify(VerifySettings(), None)
