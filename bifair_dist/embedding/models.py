"""Which model the settings mean, and what its files say: found and checked before anything is loaded or downloaded.

A model is a preset (presets.py), a local folder, or a hub id. Settings that were given win over the preset, the preset
over the files. What the files say: pooling and width from sentence-transformers' `modules.json`, else mean for an
encoder and last token for a decoder; tokens from `sentence_bert_config.json`, else from the positions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bifair_dist.embedding.model_files import Files, read_files
from bifair_dist.embedding.presets import PACKAGE, PRESETS, Matryoshka, Preset, find_preset
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError, nearest
from bifair_dist.files import sha256

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model as the job will run it. 0 and "model" stand for what only its files can say, where none are here."""

    name: str  # preset, folder's name or hub id
    source: str  # folder or hub id, as the engines take it
    folder: Path | None  # where its files are on this machine, if they are
    is_local: bool  # source is a folder
    revision: str  # sha256:... of a folder's files, else the hub's commit or what was asked for
    revision_asked: str | None  # what the engines are to ask the hub for
    pooling: Literal["model", "mean", "last", "cls"]
    prompt: str
    max_tokens: int
    width: int  # of the stored vectors
    full_width: int  # of the model's
    normalise: bool
    parameters: int
    lookup_parameters: int  # of these, token tables: memory, but no arithmetic
    bytes_per_parameter: int
    licence: str
    decoder: bool | None  # None: not known
    matryoshka: Matryoshka | None
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    caveat: str = ""


def resolve(settings: EmbedSettings, *, hash_files: bool = True) -> Model:
    """The model of the settings, checked. `hash_files=False` leaves a folder's revision empty: 7B take half a minute.

    Raises `UserError` for a folder that is missing or incomplete, a model that cannot give one vector for a text, a
    width or length that it does not have, and a name that is nothing known.
    """
    key, folder = find_preset(settings.model), Path(settings.model).expanduser()
    here = settings.model != "" and folder.is_dir()
    if key and not (here and "/" in settings.model):  # a folder of a preset's name is meant by ./name
        preset = PRESETS[key]
        local = packaged_folder() if preset.source == PACKAGE else None
        return _model(settings, key, preset, local, preset.source, hash_files)
    if here:
        return _model(settings, folder.resolve().name, None, folder, str(folder), hash_files)
    if settings.model.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(settings.model):
        raise UserError(_unknown(settings.model))
    return _model(settings, settings.model, None, None, settings.model, hash_files)


def packaged_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 inside its package. Raises `UserError` where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # not imported: that alone would load torch
    if found is None or found.origin is None:
        raise UserError(f"model: minilm is not installed: pip install {PACKAGE}, or choose another --model")
    return Path(found.origin).parent / "model"


def cached_snapshot(hub_id: str, revision: str = "") -> Path | None:
    """Folder of a hub model in the local cache, whose name is the commit, or None. Nothing is downloaded."""
    base = _hub_cache() / f"models--{hub_id.replace('/', '--')}"
    if not _COMMIT.fullmatch(revision):
        ref = base / "refs" / (revision or "main")
        if not ref.is_file():
            return None
        revision = ref.read_text(encoding="utf-8").strip()
    folder = base / "snapshots" / revision
    return folder if (folder / "config.json").is_file() else None


def files_hash(folder: Path) -> str:
    """SHA-256 over names and contents of the files that make the vectors: weights, tokenizer, settings, own code."""
    total = hashlib.sha256()
    for path in _hashed_files(folder):
        total.update(f"{path.relative_to(folder).as_posix()}:{sha256(path)}\n".encode())
    return total.hexdigest()


def _hashed_files(folder: Path) -> Iterator[Path]:
    safe = any(folder.glob("*.safetensors"))
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or len(parts) > 2 or any(part.startswith(".") for part in parts):
            continue
        if path.suffix in {".json", ".txt", ".model", ".py", ".safetensors"} or (path.suffix == ".bin" and not safe):
            yield path


def _model(
    settings: EmbedSettings, name: str, preset: Preset | None, local: Path | None, source: str, hash_files: bool
) -> Model:
    if settings.revision and local is not None:
        raise UserError(f"revision: {name} is a folder and has none; leave --revision away")
    folder = local or cached_snapshot(source, settings.revision)
    wanted = settings.pooling == "model" and preset is None
    files = read_files(folder, complete=local is not None, pooling_wanted=wanted) if folder else Files()
    if preset:
        if preset.hf_overrides.get("is_causal") is False and settings.engine != "vllm":
            raise UserError(
                f"engine: {settings.engine} runs {name} with causal attention, which its embeddings were not trained "
                "with; use --engine vllm"
            )
        files = _preset_over(files, preset)
    if settings.max_tokens and files.token_limit and settings.max_tokens > files.token_limit:
        raise UserError(f"max_tokens: {name} reads at most {files.token_limit:,} tokens, not {settings.max_tokens:,}")
    _check_width(settings.width, files.width, files.matryoshka, name)
    if local is not None:
        revision = f"sha256:{files_hash(local)}" if hash_files else ""
    else:
        revision = folder.name if folder else settings.revision
    return Model(
        name=name,
        source=str(local) if local else source,
        folder=folder,
        is_local=local is not None,
        revision=revision,
        revision_asked=None if local else revision or None,
        pooling=files.pooling if settings.pooling == "model" else settings.pooling,
        prompt=_prompt(settings.prompt, files.prompt),
        max_tokens=settings.max_tokens or files.max_tokens,
        width=settings.width or files.width,
        full_width=files.width,
        normalise=settings.normalise,
        parameters=files.parameters,
        lookup_parameters=files.lookup_parameters,
        bytes_per_parameter=files.bytes_per_parameter,
        licence=preset.licence if preset else "",
        decoder=files.decoder,
        matryoshka=files.matryoshka,
        hf_overrides=dict(preset.hf_overrides) if preset else {},
        caveat=preset.caveat if preset else "",
    )


def _prompt(given: str, own: str) -> str:
    """The text that is put before every item's: what was given, where that is not one of the setting's two words."""
    return {"model": own, "none": ""}.get(given.lower(), given)


def _preset_over(files: Files, preset: Preset) -> Files:
    """What a preset says, and of the files what it leaves open."""
    return Files(
        pooling=preset.pooling,
        prompt=preset.prompt,
        max_tokens=preset.max_tokens,
        token_limit=preset.token_limit,
        width=preset.width,
        parameters=files.parameters or preset.parameters,
        lookup_parameters=files.lookup_parameters or preset.lookup_parameters,
        bytes_per_parameter=files.bytes_per_parameter or preset.bytes_per_parameter,
        decoder=preset.decoder,
        matryoshka=preset.matryoshka,
    )


def _check_width(width: int, full: int, matryoshka: Matryoshka | None, name: str) -> None:
    if not width or width == full:
        return
    if full and width > full:
        raise UserError(f"width: vectors of {name} have {full:,} columns, so {width:,} cannot be kept")
    if matryoshka is None:
        able = ", ".join(key for key, preset in PRESETS.items() if preset.matryoshka)
        raise UserError(f"width: {name} is not known to work with fewer columns (Matryoshka); presets that do: {able}")
    if not matryoshka.allows(width, full):
        raise UserError(f"width: {name} was trained for widths {matryoshka.describe(full)}, not {width:,}")


def _unknown(name: str) -> str:
    if "/" in name or name.startswith(("~", ".")):
        return f"model: no folder {name}; give a folder that exists, a hub id (owner/name) or a preset"
    names = {key.lower(): key for key in PRESETS}
    near = nearest(name.lower(), names, 0.5)
    hint = f"did you mean {names[near]}? " if near else ""
    return f"model: {name!r} is no preset, folder or hub id (owner/name); {hint}presets: {', '.join(PRESETS)}"


def _hub_cache() -> Path:
    """Where huggingface_hub keeps its files, by the same environment variables."""
    environment = os.environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return Path(environment[variable]).expanduser()
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"
