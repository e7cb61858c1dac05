"""Which model the settings mean: presets, folders and hub ids; every mistake is one line. Nothing is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bifair_dist.command_line import parse
from bifair_dist.embedding.models import cached_snapshot, files_hash, packaged_folder, resolve
from bifair_dist.embedding.presets import PRESETS
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QWEN = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 8, "max_position_embeddings": 64}
BERT = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "max_position_embeddings": 32}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def write(folder: Path, config: dict[str, Any], **files: Any) -> Path:
    """A model folder; `files` are JSON files by name, with __ for the slash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config": config, **files}.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    save_file({"w": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float16)}, folder / "model.safetensors")
    return folder


def refused(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        resolve(EmbedSettings(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_default_is_the_packaged_minilm() -> None:
    model = resolve(EmbedSettings())
    assert (model.name, model.folder, model.is_local) == ("minilm", packaged_folder(), True)
    assert (model.pooling, model.prompt, model.max_tokens, model.width) == ("mean", "", 256, 384)
    assert model.revision == f"sha256:{files_hash(packaged_folder())}"
    assert (model.normalise, model.decoder, model.revision_asked) == (True, False, None)


def test_settings_win_over_the_preset() -> None:
    given = EmbedSettings(
        model="qwen/qwen3-embedding-4b", prompt="P ", max_tokens=99, pooling="mean", width=64, normalise=False,
        revision="v2",
    )  # fmt: skip
    model = resolve(given)
    assert (model.name, model.source) == ("Qwen3-Embedding-4B", "Qwen/Qwen3-Embedding-4B")
    assert (model.prompt, model.max_tokens, model.pooling, model.width) == ("P ", 99, "mean", 64)
    assert (model.full_width, model.normalise, model.revision, model.revision_asked) == (2560, False, "v2", "v2")
    assert resolve(EmbedSettings(model="GritLM-7B")).prompt == "<|embed|>\n"


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ((), "<|embed|>\n"),
        (("--prompt", "model"), "<|embed|>\n"),
        (("--prompt", "none"), ""),
        (("--prompt", "None"), ""),
        (("--prompt", ""), ""),
        (("--prompt=",), ""),
        (("--prompt", "none of "), "none of "),
    ],
)
def test_a_prompt_can_be_left_away(words: tuple[str, ...], prompt: str) -> None:
    assert resolve(parse(EmbedSettings(), ["--model", "GritLM-7B", *words])).prompt == prompt


def test_every_preset_resolves_without_its_files() -> None:
    for name, preset in PRESETS.items():
        model = resolve(EmbedSettings(model=name), hash_files=False)
        assert (model.pooling, model.width, model.max_tokens) == (preset.pooling, preset.width, preset.max_tokens)
        assert model.parameters == preset.parameters


def test_a_folder_is_read(tmp_path: Path) -> None:
    decoder = resolve(
        EmbedSettings(model=str(write(tmp_path / "qwen", QWEN, tokenizer_config={"model_max_length": 1e30})))
    )
    assert (decoder.name, decoder.decoder, decoder.pooling) == ("qwen", True, "last")
    assert (decoder.max_tokens, decoder.width, decoder.prompt) == (64, 8, "")
    assert (decoder.parameters, decoder.bytes_per_parameter) == (17, 2)
    encoder = resolve(EmbedSettings(model=str(write(tmp_path / "bert", BERT))))
    assert (encoder.decoder, encoder.pooling, encoder.max_tokens) == (False, "mean", 32)


def test_sentence_transformers_files_are_read(tmp_path: Path) -> None:
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    folder = write(
        tmp_path / "st", BERT | {"model_type": "roberta", "pad_token_id": 1, "matryoshka_dimensions": [2, 4]},
        modules=modules, config_sentence_transformers={"prompts": {"query": "q: ", "document": "d: "}},
        **{"1_Pooling__config": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
           "2_Dense__config": {"out_features": 6}, "sentence_bert_config": {"max_seq_length": 20}},
    )  # fmt: skip
    model = resolve(EmbedSettings(model=str(folder), width=4))
    assert (model.pooling, model.prompt, model.max_tokens) == ("cls", "d: ", 20)
    assert (model.full_width, model.width) == (6, 4)
    assert "trained for widths 2, 4, not 3" in refused(model=str(folder), width=3)
    assert "reads at most 30 tokens, not 31" in refused(model=str(folder), max_tokens=31)
    write(folder, BERT, **{"1_Pooling__config": {"pooling_mode": "lasttoken"}})
    assert resolve(EmbedSettings(model=str(folder))).pooling == "last"
    write(folder, BERT, **{"1_Pooling__config": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}})
    assert "asks for max and mean, known are mean, cls, lasttoken; choose one with --pooling" in refused(
        model=str(folder)
    )
    assert resolve(EmbedSettings(model=str(folder), pooling="cls")).pooling == "cls"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "is an encoder-decoder (T5"),
        (
            {"architectures": ["Qwen2VLForConditionalGeneration"], "vision_config": {}},
            "is a model for pictures or sound",
        ),
        ({"architectures": ["ViTModel"], "model_type": "vit"}, "is a model for pictures or sound (ViTModel)"),
        ({"architectures": ["BertForSequenceClassification"]}, "is a classifier (BertForSequenceClassification)"),
        ({}, "names neither architectures nor model_type"),
    ],
)
def test_models_that_cannot_pool(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(model=str(write(tmp_path / "m", config)))


def test_incomplete_folders(tmp_path: Path) -> None:
    assert "no folder" in refused(model=str(tmp_path / "none"))
    assert "no folder ./none" in refused(model="./none")
    (tmp_path / "m").mkdir()
    assert "has no config.json" in refused(model=str(tmp_path / "m"))
    folder = write(tmp_path / "m", QWEN)
    (folder / "model.safetensors").write_bytes(b"\x05")
    assert "is no readable safetensors file" in refused(model=str(folder))
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refused(model=str(folder))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "model-1.safetensors"}}))
    assert "model-1.safetensors is missing, named in model.safetensors.index.json" in refused(model=str(folder))
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(model=str(folder))
    assert "is a folder and has none" in refused(model=str(folder), revision="main")


def test_names_that_are_nothing() -> None:
    assert "did you mean Qwen3-Embedding-0.6B? presets: minilm, " in refused(model="qwen3-embeding-0.6b")
    assert "is no preset, folder or hub id" in refused(model="")
    assert "no folder a/b/c" in refused(model="a/b/c")


def test_widths_and_lengths_that_a_model_does_not_have() -> None:
    assert "presets that do: Qwen3-Embedding-0.6B, Qwen3-Embedding-4B" in refused(width=128)
    assert "have 384 columns, so 500 cannot be kept" in refused(width=500)
    assert "for widths 32 to 1024, not 31" in refused(model="Qwen3-Embedding-0.6B", width=31)
    assert resolve(EmbedSettings(width=384)).width == 384
    assert "reads at most 512 tokens, not 513" in refused(max_tokens=513)
    assert resolve(EmbedSettings(max_tokens=512)).max_tokens == 512
    assert "not known to work with fewer columns" in refused(model="some/model", width=8)


def test_a_folder_of_a_presets_name_is_meant_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "minilm", QWEN)
    (tmp_path / "BAAI").mkdir()
    write(tmp_path / "BAAI" / "bge-m3", BERT)
    assert resolve(EmbedSettings(model="minilm")).folder == packaged_folder()
    assert resolve(EmbedSettings(model="./minilm")).pooling == "last"
    assert resolve(EmbedSettings(model="BAAI/bge-m3")).width == 8


def test_gritlm_needs_vllm() -> None:
    model = resolve(EmbedSettings(model="GritLM-7B"))
    assert (model.hf_overrides["is_causal"], model.pooling) == (False, "mean")
    assert "embed.py import" in model.caveat
    assert "with causal attention" in refused(model="GritLM-7B", engine="sentence-transformers")


def test_hub_models_take_their_commit_from_the_cache(hub: Path) -> None:
    unknown = resolve(EmbedSettings(model="some/model"))
    assert (unknown.folder, unknown.pooling, unknown.width, unknown.revision_asked) == (None, "model", 0, None)
    base = hub / "models--some--model"
    snapshot = write(base / "snapshots" / COMMIT, QWEN)
    assert cached_snapshot("some/model") is None
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text(COMMIT)
    for revision in ("", "main", COMMIT):
        model = resolve(EmbedSettings(model="some/model", revision=revision))
        assert (model.source, model.folder, model.is_local) == ("some/model", snapshot, False)
        assert (model.revision, model.revision_asked, model.pooling, model.width) == (COMMIT, COMMIT, "last", 8)
    other = resolve(EmbedSettings(model="some/model", revision="v1"))
    assert (other.folder, other.revision, other.revision_asked) == (None, "v1", "v1")


def test_the_hash_is_of_what_makes_the_vectors(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", QWEN, tokenizer={})
    first = files_hash(folder)
    (folder / "README.md").write_text("words")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("the same weights again, not read")
    assert files_hash(folder) == first
    assert files_hash(write(tmp_path / "copy", QWEN, tokenizer={})) == first
    (folder / "tokenizer.json").write_text("{ }")
    assert files_hash(folder) != first


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from bifair_dist.embedding.settings import EmbedSettings\n"
        "from bifair_dist.embedding.models import resolve\nresolve(EmbedSettings())\n"
        "print([m for m in ('torch', 'vllm', 'transformers', 'sentence_transformers', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
