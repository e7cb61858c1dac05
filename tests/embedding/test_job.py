"""The embedding job without Ray: the vectors, restart, failures, refusals. The Ray path must give the same bytes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from catalogues import catalogue, shard_hashes
from tiny_models import POISON, tiny_decoder
from transformers import AutoModel, AutoTokenizer

from bifair_dist.data.representations import read_manifest, read_rows
from bifair_dist.embedding.again import embed_again
from bifair_dist.embedding.job import embed_here
from bifair_dist.embedding.sentence_engine import SentenceEngine
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.embedding.staging import Staging
from bifair_dist.errors import UserError
from bifair_dist.settings import override


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_decoder(tmp_path_factory.mktemp("decoder"))


def job(dataset: Path, output: Path, **changes: Any) -> Path:
    fixed = {
        "dataset": str(dataset),
        "output": str(output),
        "engine": "sentence-transformers",
        "batch": 4,
        "tracking.enabled": False,
    }
    given = {k: str(v) if isinstance(v, Path) else v for k, v in changes.items()}
    return embed_here(override(EmbedSettings(), {**fixed, **given}), threads=1)


def ids(dataset: Path) -> list[str]:
    return pq.read_table(dataset / "items.parquet")["item_id"].to_pylist()


def titles(dataset: Path) -> list[str]:
    return pq.read_table(dataset / "items.parquet")["title"].to_pylist()


def vectors(folder: Path, dataset: Path) -> npt.NDArray[np.float32]:
    return read_rows(folder, ids(dataset))


def reference(folder: Path, texts: list[str], pooling: str, max_tokens: int = 128) -> npt.NDArray[np.float64]:
    """One text at a time through transformers, pooled by hand."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    out = []
    for text in texts:
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_tokens)
            hidden = model(**inputs).last_hidden_state[0].double()
        pooled = {"mean": hidden.mean(0), "last": hidden[-1], "cls": hidden[0]}[pooling]
        out.append((pooled / pooled.norm()).numpy())
    return np.stack(out)


@pytest.mark.parametrize("pooling", ["model", "mean", "last", "cls"])
def test_a_decoder_against_transformers(pooling: str, decoder: Path, tmp_path: Path) -> None:
    """Units of 4 over row groups of 7, and texts of unequal length, so that padding and slicing could show."""
    data = catalogue(tmp_path / "data")
    folder = job(data, tmp_path / "out", model=decoder, pooling=pooling)
    expected = reference(decoder, titles(data), "last" if pooling == "model" else pooling)
    assert ((vectors(folder, data) * expected).sum(1) > 0.9999).all()
    manifest = read_manifest(folder)
    assert manifest["pooling"] == ("last" if pooling == "model" else pooling)
    assert (manifest["rows"], manifest["dim"], manifest["ordered"], manifest["failed"]) == (23, 64, True, 0)


def test_minilm_against_its_published_pooling(tmp_path: Path) -> None:
    from bifair_dist.embedding.models import packaged_folder

    data = catalogue(tmp_path / "data", 9)
    folder = job(data, tmp_path / "out")
    expected = reference(packaged_folder(), titles(data), "mean", 256)
    assert ((vectors(folder, data) * expected).sum(1) > 0.99999).all()


class CutOffError(Exception):
    pass


def test_a_job_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = catalogue(tmp_path / "data")
    whole = job(data, tmp_path / "whole", model=decoder, shard_rows=10)
    seen: list[str] = []
    call = SentenceEngine.__call__

    def counted(self: SentenceEngine, table: pa.Table) -> pa.Table:
        if len(seen) == 8:
            raise CutOffError
        seen.extend(table["item_id"].to_pylist())
        return call(self, table)

    monkeypatch.setattr(SentenceEngine, "__call__", counted)
    with pytest.raises(CutOffError):
        job(data, tmp_path / "cut", model=decoder, shard_rows=10)
    assert not (tmp_path / "cut").exists() and len(seen) == 8
    seen.append("cut off here")
    again = job(data, tmp_path / "cut", model=decoder, shard_rows=10)
    seen.remove("cut off here")
    assert sorted(seen) == ids(data)  # every item once
    assert shard_hashes(again) == shard_hashes(whole) and len(shard_hashes(whole)) == 3
    assert not (tmp_path / "cut.partial").exists()


@pytest.mark.parametrize("left_under", ["its own name", "a name that no unit has now"])
def test_a_unit_cut_off_between_data_and_record_is_done_again(left_under: str, decoder: Path, tmp_path: Path) -> None:
    """Data without a committed record (a kill between the two writes) does not count, whatever it holds.

    The vectors left behind are zeros, so that a job that takes them shows.
    """
    data = catalogue(tmp_path / "data")
    whole = job(data, tmp_path / "whole", model=decoder)
    staging = Staging.beside(tmp_path / "out")
    original = Staging.write_unit

    def half(self: Staging, name: str, table: pa.Table) -> None:
        original(self, name, table)
        next(self.checkpoint.glob("*.parquet")).unlink()
        (data_file,) = self.staged.glob("*.parquet")
        table = pq.read_table(data_file)
        at = table.schema.get_field_index("vector")
        zeros = pa.array([[0.0] * len(row) for row in table["vector"].to_pylist()], table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), zeros), data_file)
        if left_under != "its own name":
            data_file.rename(data_file.with_name("left-over.parquet"))
        raise CutOffError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "write_unit", half)
        with pytest.raises(CutOffError):
            job(data, tmp_path / "out", model=decoder)
    assert any(staging.staged.iterdir()) and not staging.committed().size
    assert shard_hashes(job(data, tmp_path / "out", model=decoder)) == shard_hashes(whole)


def test_a_full_disk_is_one_line_and_nothing_is_lost(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = catalogue(tmp_path / "data")
    whole = job(data, tmp_path / "whole", model=decoder)
    original = Staging.write_unit
    written: list[str] = []

    def full(self: Staging, name: str, table: pa.Table) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(name)
        original(self, name, table)

    monkeypatch.setattr(Staging, "write_unit", full)
    with pytest.raises(UserError, match=r"out.partial: cannot be written \(No space left on device\); what is done"):
        job(data, tmp_path / "out", model=decoder)
    monkeypatch.setattr(Staging, "write_unit", original)
    assert Staging.beside(tmp_path / "out").committed().size == 8
    assert shard_hashes(job(data, tmp_path / "out", model=decoder)) == shard_hashes(whole)


def test_failed_items_are_named_kept_out_and_filled_with_zeros_when_accepted(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", i3=POISON, i17=f"a {POISON} book")
    with pytest.raises(UserError, match=r"2 of 23 items failed, such as 'i00003' \(.*zero or not finite"):
        job(data, tmp_path / "out", model=decoder)
    assert not (tmp_path / "out").exists()
    told = pq.read_table(tmp_path / "out.partial" / "failed.parquet")
    assert told["item_id"].to_pylist() == ["i00003", "i00017"] and told.column_names == ["item_id", "reason"]
    folder = job(data, tmp_path / "out", model=decoder, accept_failures=2)
    found = vectors(folder, data)
    assert (np.flatnonzero((found == 0).all(1)) == [3, 17]).all()
    good = [i for i in range(23) if i not in (3, 17)]
    clean = job(catalogue(tmp_path / "clean"), tmp_path / "other", model=decoder)
    np.testing.assert_array_equal(found[good], vectors(clean, data)[good])
    assert read_manifest(folder)["failed"] == 2 and len(pq.read_table(folder / "failed.parquet")) == 2


def test_truncation_is_by_the_models_tokens_and_counted(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", i2="river " * 40, i9="river " * 6)
    folder = job(data, tmp_path / "out", model=decoder, max_tokens=8)
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    lengths = [len(i) for i in tokenizer(titles(data))["input_ids"]]
    manifest = read_manifest(folder)
    assert manifest["truncated"] == sum(n > 8 for n in lengths) > 2
    assert manifest["tokens"] == sum(min(n, 8) for n in lengths)
    expected = reference(decoder, titles(data), "last", 8)
    assert ((vectors(folder, data) * expected).sum(1) > 0.9999).all()


def test_a_prompt_comes_before_every_text(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 6)
    folder = job(data, tmp_path / "out", model=decoder, prompt="passage: ", template="Title: {title}")
    expected = reference(decoder, [f"passage: Title: {t}" for t in titles(data)], "last")
    assert ((vectors(folder, data) * expected).sum(1) > 0.9999).all()
    assert read_manifest(folder)["prompt"] == "passage: "


def test_a_models_own_prompt_and_none(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 6)
    prompted = Path(shutil.copytree(decoder, tmp_path / "prompted"))
    (prompted / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"document": "passage: "}}))
    own, none = (job(data, tmp_path / p, model=prompted, prompt=p) for p in ("model", "none"))
    assert shard_hashes(none) == shard_hashes(job(data, tmp_path / "plain", model=decoder))
    assert shard_hashes(own) == shard_hashes(job(data, tmp_path / "given", model=decoder, prompt="passage: "))
    assert shard_hashes(own) != shard_hashes(none)
    assert [read_manifest(folder)["prompt"] for folder in (own, none)] == ["passage: ", ""]
    job(data, none, model=prompted, prompt="")  # said in another way, the same job: complete already
    for folder in (own, none):
        manifest = read_manifest(folder)
        np.testing.assert_allclose(embed_again(manifest, ids(data)), vectors(folder, data), atol=1e-6)
    manifest = read_manifest(own)
    manifest["settings"]["prompt"] = None  # as folders have it that were made before the prompt had words of its own
    np.testing.assert_allclose(embed_again(manifest, ids(data)), vectors(own, data), atol=1e-6)


def test_without_normalising_lengths_stay(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 6)
    raw = vectors(job(data, tmp_path / "raw", model=decoder, normalise=False), data)
    unit = vectors(job(data, tmp_path / "unit", model=decoder), data)
    norms = np.linalg.norm(raw, axis=1)
    assert (np.abs(norms - 1) > 1e-3).all()
    np.testing.assert_allclose(raw / norms[:, None], unit, atol=1e-6)
    assert read_manifest(tmp_path / "raw")["normalised"] == ""


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_stored_formats(dtype: str, error: float, decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 6)
    full = vectors(job(data, tmp_path / "full", model=decoder), data)
    small = vectors(job(data, tmp_path / "small", model=decoder, dtype=dtype), data)
    assert 0 < np.abs(full - small).max() < error
    assert read_manifest(tmp_path / "small")["dtype"] == dtype


def test_going_on_with_other_settings_is_refused_naming_them(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", i3=POISON)
    with pytest.raises(UserError, match="failed"):
        job(data, tmp_path / "out", model=decoder)
    with pytest.raises(UserError, match=r"begun with another prompt; run the same command"):
        job(data, tmp_path / "out", model=decoder, prompt="x: ")
    assert job(data, tmp_path / "out", model=decoder, accept_failures=1, dtype="float16").is_dir()


def test_a_complete_folder_is_left_alone(
    decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = catalogue(tmp_path / "data", 6)
    folder = job(data, tmp_path / "out", model=decoder)
    before = shard_hashes(folder)
    monkeypatch.delattr(SentenceEngine, "__call__")
    assert job(data, tmp_path / "out", model=decoder) == folder
    assert "complete already" in capsys.readouterr().out and shard_hashes(folder) == before
    with pytest.raises(UserError, match="already exists, made in another way"):
        job(data, tmp_path / "out", model=decoder, prompt="x: ")


def test_two_jobs_on_one_output(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 6)
    with Staging.beside(tmp_path / "out"), pytest.raises(UserError, match="another embedding job is writing here"):
        job(data, tmp_path / "out", model=decoder)


def test_an_item_without_text_is_found_before_anything_runs(tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", i4="  ")
    with pytest.raises(UserError, match="i00004"):
        job(data, tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_one_mlflow_run_over_a_restart(decoder: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    data = catalogue(tmp_path / "data", i3=POISON)
    tracked = {"model": decoder, "tracking.enabled": True}
    with pytest.raises(UserError, match="failed"):
        job(data, tmp_path / "out", **tracked)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bifair")
    assert experiment is not None
    assert [r.info.status for r in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    job(data, tmp_path / "out", accept_failures=1, **tracked)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name, run.data.metrics["failed"]) == ("FINISHED", "out", 1)
    assert run.data.params["model"] == str(decoder) and run.data.metrics["rows"] == 23
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["manifest.json"]


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset here"):
        job(tmp_path, tmp_path / "out")
