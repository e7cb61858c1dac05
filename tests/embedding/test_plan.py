"""The plan: arithmetic with known answers, tokens against a full count, nothing loaded or written."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from bifair_dist.embedding import plan as planning
from bifair_dist.embedding import token_sample
from bifair_dist.embedding.models import packaged_folder, resolve
from bifair_dist.embedding.plan import PlanSettings, device_hours, disk_bytes, plan, weights_bytes
from bifair_dist.embedding.presets import PRESETS
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.embedding.token_sample import sample_tokens
from bifair_dist.errors import UserError
from bifair_dist.hardware import PROFILES

A100, H100, CPU = (PROFILES[name] for name in ("a100-80gb", "h100-80gb", "cpu-2core"))
TOKENIZER = packaged_folder() / "tokenizer.json"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    words = np.random.default_rng(0).integers(1, 40, 3000)
    titles = [" ".join(["story"] * n) for n in words]  # one token each
    table = pa.table({"item_id": [f"{i:05d}" for i in range(3000)], "title": titles, "n": pa.array(words)})
    pq.write_table(table, folder / "items.parquet", row_group_size=700)
    return folder


def test_hours_disk_and_memory_by_hand() -> None:
    model = resolve(EmbedSettings(model="SFR-Embedding-Mistral"))
    # 10 M items of 60 tokens, 6,979,588,096 multiplied parameters, 40 % of 312e12
    assert device_hours(model, 6e8, A100) == pytest.approx(2 * 6_979_588_096 * 6e8 / (0.4 * 312e12) / 3600)
    assert device_hours(model, 6e8, A100) == pytest.approx(18.64, abs=0.01)
    assert device_hours(model, 6e8, A100, "float32") == pytest.approx(18.64 * 312 / 19.5, abs=0.2)
    assert device_hours(model, 6e8, A100) / device_hours(model, 6e8, H100) == pytest.approx(989 / 312)
    small = resolve(EmbedSettings())
    assert device_hours(small, 36_670, CPU) * 3600 == pytest.approx(9.0, abs=0.1)  # as measured
    assert disk_bytes(10, 4096, "float16", 12.0) == 10 * (2 * 4096 + 16)
    assert disk_bytes(10, 4096, "float32", 12.0) == 10 * (4 * 4096 + 16)
    assert weights_bytes(model) == 2 * 7_110_660_096
    assert weights_bytes(model, "float32") == 4 * 7_110_660_096


def test_disk_is_what_the_folder_takes(tmp_path: Path) -> None:
    from bifair_dist.data.representations import write_representations

    ids = [f"{i:012d}" for i in range(20_000)]
    write_representations(tmp_path / "r", ids, np.zeros((20_000, 64), np.float32), {})
    taken = sum(path.stat().st_size for path in (tmp_path / "r").iterdir())
    assert taken == pytest.approx(disk_bytes(20_000, 64, "float32", 12.0), rel=0.02)


def test_a_sample_estimates_the_full_count(dataset: Path) -> None:
    path = dataset / "items.parquet"
    truth = pq.read_table(path)["n"].to_numpy() + 2.0  # [CLS] and [SEP]
    full = sample_tokens(path, "{title}", "", 0, TOKENIZER)
    assert (full.items, full.sampled, full.standard_error, full.truncated) == (3000, 3000, 0.0, 0.0)
    assert (full.tokens_per_item, full.id_bytes, full.counted) == (pytest.approx(truth.mean()), 5.0, True)
    part = sample_tokens(path, "{title}", "", 0, TOKENIZER, sample=500)
    assert part.sampled == 500
    assert 0 < abs(part.tokens_per_item - full.tokens_per_item) < 3 * part.standard_error < 2
    prompted = sample_tokens(path, "{title}", "story story ", 0, TOKENIZER)
    assert prompted.tokens_per_item == pytest.approx(full.tokens_per_item + 2)


def test_large_files_are_read_in_blocks(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dataset / "items.parquet"
    for sample in (500, 3000):
        whole = sample_tokens(path, "{title}", "", 0, TOKENIZER, sample=sample)
        monkeypatch.setattr(token_sample, "_ROWS", 333)
        assert sample_tokens(path, "{title}", "", 0, TOKENIZER, sample=sample) == whole
        monkeypatch.undo()


def test_a_cut_of_the_tokenizer_itself_does_not_count(dataset: Path) -> None:
    text = "story " * 400  # MiniLM's file cuts at 128 and fills up to the longest
    assert sample_tokens(dataset / "items.parquet", "{title}", text, 0, TOKENIZER, sample=9).tokens_per_item > 400


def test_the_cut_is_counted(dataset: Path) -> None:
    path = dataset / "items.parquet"
    truth = pq.read_table(path)["n"].to_numpy() + 2.0
    cut = sample_tokens(path, "{title}", "", 20, TOKENIZER)
    assert cut.tokens_per_item == pytest.approx(np.minimum(truth, 20).mean())
    assert cut.truncated == pytest.approx((truth > 20).mean())
    text = plan(EmbedSettings(dataset=str(dataset), max_tokens=20))
    assert f"{(truth > 20).sum():,} items are cut at 20 tokens" in text


def test_without_a_tokenizer_characters_are_counted(dataset: Path) -> None:
    guess = sample_tokens(dataset / "items.parquet", "{title}", "", 0, None)
    lengths = [len(t) for t in pq.read_table(dataset / "items.parquet")["title"].to_pylist()]
    assert guess.tokens_per_item == pytest.approx(np.ceil(np.array(lengths) / 4).mean())
    text = plan(EmbedSettings(dataset=str(dataset), model="e5-mistral-7b-instruct"))
    assert "of all 3,000 items; no tokenizer here, taken as 4 characters a token" in text


def test_real_items(shared_data: Path, tmp_path: Path) -> None:
    table = pyarrow.csv.read_csv(shared_data / "ml-1m" / "items.csv")
    path = tmp_path / "items.parquet"
    pq.write_table(table, path, row_group_size=512)
    full = sample_tokens(path, "{title}", "", 256, TOKENIZER)
    part = sample_tokens(path, "{title}", "", 256, TOKENIZER, sample=1000)
    assert full.sampled == len(table)
    assert part.tokens_per_item == pytest.approx(full.tokens_per_item, rel=0.05)


def test_a_catalogue_that_is_not_at_hand() -> None:
    settings = PlanSettings(model="SFR-Embedding-Mistral", items=10_000_000, tokens_per_item=60)
    text = plan(settings)
    assert text == plan(EmbedSettings(model="SFR-Embedding-Mistral"), items=10_000_000, tokens_per_item=60)
    assert text.startswith(
        "plan for 10,000,000 items with SFR-Embedding-Mistral, from Salesforce/SFR-Embedding-Mistral"
    )
    for line in (
        "7.11 B, last pooling, 4,096 tokens, no prompt, licence cc-by-nc-4.0",
        "tokens  600 M, 60.0 an item, as given",
        "152.7 GiB (10,000,000 x 4,096 x float32)",
        "13.2 GiB of weights for each copy",
        "a100-80gb    19 GPU-hours, 18 h 39 min on 1, at 40% of peak (assumed)",
        "cpu-2core",
    ):
        assert line in text
    assert all(name in text for name in PRESETS)
    assert "4 h 40 min on 4" in plan(EmbedSettings(model=settings.model, replicas=4), items=10**7, tokens_per_item=60)
    long = plan(EmbedSettings(), items=10, tokens_per_item=1000)
    assert "tokens  2.56 k, 256.0 an item" in long  # cut at the model's length


def test_items_scale_the_texts_of_a_dataset(dataset: Path) -> None:
    text = plan(PlanSettings(dataset=str(dataset), items=3_000_000))
    assert text.startswith("plan for 3,000,000 items with minilm")
    each = sample_tokens(dataset / "items.parquet", "{title}", "", 256, TOKENIZER).tokens_per_item
    assert f"{each:.1f} an item, of all 3,000 items" in text


def test_what_to_change_where_it_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = EmbedSettings(model="Qwen3-Embedding-8B", output=str(tmp_path / "a" / "b"), compute_dtype="float32")
    monkeypatch.setattr(planning, "PROFILES", {"small": replace(A100, name="small", memory=24e9)})
    monkeypatch.setattr(planning, "_free", lambda _: 2**30)
    text = plan(huge, items=10**6, tokens_per_item=10)
    assert "does not fit: --tensor_parallel 2 or --compute_dtype bfloat16" in text
    assert "1.0 GiB are free" in text
    assert "another --output or --dtype float16 (half) or a smaller --width" in text
    fits = plan(EmbedSettings(model="bge-m3", output=str(tmp_path)), items=10, tokens_per_item=10)
    assert "does not fit" not in fits


def test_errors() -> None:
    for settings in (EmbedSettings(), PlanSettings(items=5), PlanSettings(tokens_per_item=5)):
        with pytest.raises(UserError, match=r"^plan: give --dataset FOLDER, or --items and --tokens_per_item"):
            plan(settings)
    with pytest.raises(UserError, match="file is missing"):
        plan(EmbedSettings(dataset="nowhere"))
    with pytest.raises(UserError, match="tensor_parallel above 1"):
        PlanSettings(tensor_parallel=2, gpus=0.5)


def test_nothing_is_loaded_or_written(dataset: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from bifair_dist.embedding.plan import PlanSettings, plan\n"
        f"plan(PlanSettings(dataset={str(dataset)!r}, output={str(tmp_path / 'out')!r}))\n"
        "print([m for m in ('torch', 'vllm', 'transformers', 'sentence_transformers', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert not (tmp_path / "out").exists()
