"""What a model's folder says of itself: architecture, pooling, width, tokens and, from headers alone, parameters."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bifair_dist.embedding.presets import Matryoshka, Pooling
from bifair_dist.errors import UserError

_ENCODERS = frozenset(
    {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "eurobert", "modernbert"}
    | {"gte", "new", "mpnet", "nomic_bert", "roberta", "roformer", "xlm-roberta", "xlm-roberta-xl"}
)
_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"})  # positions start there
_NO_TEXT = ("vision", "audio", "speech", "clip", "siglip", "vit", "whisper", "wav2vec")
_HEADS = {
    "ForSequenceClassification": "a classifier",
    "ForTokenClassification": "a token classifier",
    "ForQuestionAnswering": "a question answerer",
    "ForMultipleChoice": "a classifier",
    "ForRewardModeling": "a reward model",
    "RewardModel": "a reward model",
}
_POOLING: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_LOOKUP = re.compile(r"(embeddings\.\w*_?embeddings|embed_tokens|wte|wpe|lm_head)\.weight$")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Findings; 0 and "model" are for what the files do not say."""

    pooling: Literal["model", "mean", "last", "cls"] = "model"
    prompt: str = ""
    max_tokens: int = 0
    token_limit: int = 0
    width: int = 0
    parameters: int = 0
    lookup_parameters: int = 0
    bytes_per_parameter: int = 0
    decoder: bool | None = None
    matryoshka: Matryoshka | None = None


def read_files(folder: Path, *, complete: bool = True, pooling_wanted: bool = True) -> Files:
    """Read and check a model's folder. `complete`: its weights must be there. Raises `UserError`, one line each.

    A model that cannot pool is one with an encoder and a decoder, one for pictures or sound, and one whose head gives
    classes instead of vectors. With `pooling_wanted` a pooling that the job does not know is an error too.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"model: {folder} has no config.json, so it is no model folder; give the folder that holds it")
    config = _json(folder / "config.json")
    weights = _weights(folder)
    if complete and not weights:
        raise UserError(f"model: {folder} has no weights (*.safetensors or pytorch_model*.bin); download them into it")
    decoder = _check_architecture(folder, config)
    parameters, lookup, size = _count(weights)
    width = int(config.get("hidden_size") or config.get("d_model") or config.get("n_embd") or config.get("dim") or 0)
    modules = _modules(folder)
    pooling: Literal["mean", "last", "cls"] = "last" if decoder else "mean"
    for kind, path in modules:
        if kind == "Pooling" and pooling_wanted:
            pooling = _pooling(path / "config.json")
        elif kind == "Dense":
            width = int(_json(path / "config.json").get("out_features") or width)
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)
    if positions and config.get("model_type") in _AFTER_PADDING:
        positions -= int(config.get("pad_token_id", 1)) + 1
    chosen = [
        _optional(folder / "sentence_bert_config.json").get("max_seq_length"),
        _optional(folder / "tokenizer_config.json").get("model_max_length"),
    ]
    limits = [int(n) for n in chosen if isinstance(n, (int, float)) and 0 < n < 1e9]  # "none" is written as 1e30
    listed = tuple(int(w) for w in config.get("matryoshka_dimensions") or ())
    return Files(
        pooling=pooling,
        prompt=_prompt(_optional(folder / "config_sentence_transformers.json")),
        max_tokens=min([*limits[:1], *([positions] if positions else [])], default=0),
        token_limit=positions or max(limits, default=0),
        width=width,
        parameters=parameters,
        lookup_parameters=lookup,
        bytes_per_parameter=size,
        decoder=decoder,
        matryoshka=Matryoshka(only=listed) if listed else Matryoshka() if config.get("is_matryoshka") else None,
    )


def _check_architecture(folder: Path, config: dict[str, Any]) -> bool:
    """Whether it is a decoder. Raises `UserError` where it cannot give one vector for a text."""
    names = [str(name) for name in config.get("architectures") or ()]
    kind = str(config.get("model_type") or "")
    what = ", ".join(names) or kind
    if not what:
        raise UserError(f"model: {folder / 'config.json'} names neither architectures nor model_type; it is incomplete")
    cannot = ""
    if config.get("is_encoder_decoder"):
        cannot = "an encoder-decoder"
    elif any(key in config for key in ("vision_config", "audio_config", "num_channels")) or any(
        word in name for name in [kind, *(n.lower() for n in names)] for word in _NO_TEXT
    ):
        cannot = "a model for pictures or sound"
    else:
        cannot = next((text for name in names for end, text in _HEADS.items() if name.endswith(end)), "")
    if cannot:
        raise UserError(f"model: {folder} is {cannot} ({what}), which gives no vector for a text; choose another")
    causal_head = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    return causal_head or kind not in _ENCODERS


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Kind (last part of the class name) and folder of every sentence-transformers module, in their order."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    return [(str(m["type"]).rsplit(".", 1)[-1], folder / str(m.get("path", ""))) for m in _json(path, list)]


def _pooling(path: Path) -> Pooling:
    config = _json(path)
    named = config.get("pooling_mode")  # sentence-transformers from 5.x; one key for each way before
    modes = [named] if isinstance(named, str) else list(named or ())
    if not modes:
        modes = [k.removeprefix("pooling_mode_") for k, on in config.items() if on and k.startswith("pooling_mode_")]
        modes = [m if m == "lasttoken" else m.removesuffix("_tokens").removesuffix("_token") for m in modes]
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise UserError(
            f"pooling: {path} asks for {' and '.join(modes) or 'none'}, known are "
            f"{', '.join(_POOLING)}; choose one with --pooling"
        )
    return _POOLING[modes[0]]


def _prompt(config: dict[str, Any]) -> str:
    """What sentence-transformers puts before a document: the prompt of that name, else the default one."""
    prompts = config.get("prompts") or {}
    for name in ("document", "passage", config.get("default_prompt_name")):
        if name in prompts:
            return str(prompts[name])
    return ""


def _weights(folder: Path) -> list[Path]:
    """Files of the weights; all that an index names must be there."""
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        for index in folder.glob(f"{pattern}.index.json"):
            for name in sorted(set(_json(index).get("weight_map", {}).values())):
                if not (folder / name).is_file():
                    raise UserError(f"model: {folder / name} is missing, named in {index.name}; download it again")
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def _count(weights: list[Path]) -> tuple[int, int, int]:
    """Parameters, those in token tables, bytes of one: from headers of safetensors files; others as if float32."""
    parameters = lookup = stored = 0
    for path in weights:
        if path.suffix != ".safetensors":
            parameters, stored = parameters + path.stat().st_size // 4, stored + path.stat().st_size
            continue
        try:
            with path.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, 1 << 28)))
            for name, tensor in header.items():
                if name != "__metadata__" and tensor["dtype"] in _BYTES:
                    count = math.prod(tensor["shape"])
                    parameters, stored = parameters + count, stored + count * _BYTES[tensor["dtype"]]
                    lookup += count if _LOOKUP.search(name) else 0
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"model: {path} is no readable safetensors file; download it again") from None
    return parameters, lookup, round(stored / parameters) if parameters else 0


def _json(path: Path, kind: type = dict) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"model: {path} cannot be read ({str(error).splitlines()[0]}); download it again") from None
    if not isinstance(content, kind):
        raise UserError(f"model: {path} does not have the form of such a file; download it again")
    return content


def _optional(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = _json(path) if path.is_file() else {}
    return content
