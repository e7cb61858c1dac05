"""The table of models: its figures against the models' own files and their shapes, and names that are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bifair_dist.embedding.model_files import read_files
from bifair_dist.embedding.models import packaged_folder
from bifair_dist.embedding.presets import PACKAGE, PRESETS, Matryoshka, find_preset


def test_minilm_agrees_with_its_files() -> None:
    files = read_files(packaged_folder())
    preset = PRESETS["minilm"]
    assert (preset.pooling, preset.width, preset.max_tokens) == (files.pooling, files.width, files.max_tokens)
    assert (preset.token_limit, preset.decoder, preset.prompt) == (files.token_limit, files.decoder, files.prompt)
    assert (preset.parameters, preset.lookup_parameters) == (files.parameters, files.lookup_parameters)
    assert preset.bytes_per_parameter == files.bytes_per_parameter
    hub = PRESETS["all-MiniLM-L6-v2"]
    assert (hub.width, hub.parameters, hub.pooling) == (preset.width, preset.parameters, preset.pooling)


def bert(words: int, width: int, layers: int, positions: int = 512, types: int = 2) -> int:
    embedding = (words + positions + types + 2) * width
    layer = 4 * (width + 1) * width + 2 * 4 * width * width + 5 * width + 4 * width
    return embedding + layers * layer + (width + 1) * width


def mistral(words: int, width: int, layers: int, inner: int, keys: int) -> int:
    layer = 2 * width * width + 2 * width * keys + 3 * width * inner + 2 * width
    return words * width + layers * layer + width


def qwen3(words: int, width: int, layers: int, inner: int, queries: int) -> int:
    layer = 2 * width * queries + 2 * width * 1024 + 3 * width * inner + 2 * width + 2 * 128
    return words * width + layers * layer + width


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("bge-small-en-v1.5", bert(30522, 384, 12)),
        ("bge-base-en-v1.5", bert(30522, 768, 12)),
        ("bge-large-en-v1.5", bert(30522, 1024, 24)),
        ("bge-m3", bert(250002, 1024, 24, 8194, 1)),
        ("e5-mistral-7b-instruct", mistral(32000, 4096, 32, 14336, 1024)),
        ("SFR-Embedding-Mistral", mistral(32000, 4096, 32, 14336, 1024)),
        ("GritLM-7B", mistral(32000, 4096, 32, 14336, 1024) + 32000 * 4096),
        ("Qwen3-Embedding-0.6B", qwen3(151669, 1024, 28, 3072, 2048)),
        ("Qwen3-Embedding-4B", qwen3(151665, 2560, 36, 9728, 4096)),
        ("Qwen3-Embedding-8B", qwen3(151665, 4096, 36, 12288, 4096)),
    ],
)
def test_parameters_follow_from_the_shapes(name: str, parameters: int) -> None:
    assert PRESETS[name].parameters == parameters


def test_only_gritlm_has_a_document_prompt() -> None:
    assert {name for name, preset in PRESETS.items() if preset.prompt} == {"GritLM-7B"}
    for preset in PRESETS.values():
        assert preset.max_tokens <= preset.token_limit
        assert preset.pooling == ("last" if preset.decoder and not preset.hf_overrides else preset.pooling)
        assert not preset.item_instruction or preset.decoder


def test_names_and_hub_ids_in_any_case() -> None:
    for name, preset in PRESETS.items():
        assert find_preset(name.lower()) == find_preset(name.upper()) == name
        if preset.source != PACKAGE:
            assert find_preset(preset.source) == name
    assert find_preset(PACKAGE) is find_preset("x") is find_preset("") is None


def test_widths() -> None:
    some, listed = Matryoshka(lowest=32), Matryoshka(only=(64, 128))
    assert [some.allows(w, 1024) for w in (31, 32, 500, 1024, 1025)] == [False, True, True, True, False]
    assert [listed.allows(w, 256) for w in (64, 100, 128)] == [True, False, True]
    assert (some.describe(1024), listed.describe(256)) == ("32 to 1024", "64, 128")


def test_every_preset_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    table = text[: text.index("## Prompts")]
    rows = {cells[0].strip("`"): cells for cells in (re.split(r"\s*\|\s*", r.strip("| ")) for r in table.splitlines())}
    for name, preset in PRESETS.items():
        _, hub, pooling, tokens, width, *_ = rows[name]
        assert (hub.strip("`"), pooling) == (preset.source, preset.pooling)
        assert tokens.replace(",", "") == f"{preset.max_tokens} / {preset.token_limit}"
        assert int(width.replace(",", "")) == preset.width
