"""What an embedding will cost, before anything runs: tokens, GPU-hours, memory and disk. Nothing is loaded or started.

    time = 2 (P - E) T / (F u)

T tokens after the cut at the model's length, P parameters, E of them token tables (looked up, not multiplied), F peak
operations a second of the hardware in the number format used, u the share of it that is reached. Two operations for
each parameter and token are the matrix products of a forward pass (Kaplan et al., arXiv 2001.08361, section 2.1);
attention adds less than 5 % up to a thousand tokens in a 7B model. u is an assumption, printed with the rest.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from bifair_dist.embedding.models import Model, resolve
from bifair_dist.embedding.presets import PRESETS
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.embedding.token_sample import CHARACTERS_PER_TOKEN, TokenSample, sample_tokens
from bifair_dist.errors import UserError
from bifair_dist.hardware import PROFILES, Hardware
from bifair_dist.progress import duration
from bifair_dist.settings import setting

GIB = 2**30
WEIGHTS_SHARE = 0.8  # of a GPU's memory; the rest is for activations, the cache of a running batch and the engine
ID_BYTES = 12.0  # of an item id, where there is no dataset to look
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class PlanSettings(EmbedSettings):
    """Settings of `jobs/embed.py plan`: those of the job, and a catalogue that is not there yet."""

    items: int = setting(0, "items to plan for; 0: those of the dataset", unit="items", ge=0)
    tokens_per_item: float = setting(
        0.0, "tokens of an item's text; 0: counted in the dataset's texts", unit="tokens", ge=0
    )


def utilisation(parameters: int, hardware: Hardware) -> float:
    """The assumed share of peak: small models wait for tokenizing, copies and kernel launches on a GPU."""
    if not hardware.is_gpu:
        return 1.0
    return 0.4 if parameters >= 1e9 else 0.1


def device_hours(model: Model, tokens: float, hardware: Hardware, compute_dtype: str = "auto") -> float:
    """Hours that one device needs for `tokens`."""
    full = _compute_bytes(model, compute_dtype) == 4
    peak = hardware.flops if full else hardware.flops16
    multiplied = model.parameters - model.lookup_parameters
    return 2 * multiplied * tokens / (peak * utilisation(model.parameters, hardware)) / 3600


def disk_bytes(items: int, width: int, dtype: str, id_bytes: float = ID_BYTES) -> float:
    """Bytes of the representations folder: vectors and ids with their offsets, uncompressed."""
    return items * (width * _BYTES[dtype] + id_bytes + 4)


def weights_bytes(model: Model, compute_dtype: str = "auto") -> float:
    """Bytes of the weights of one copy of the model."""
    return model.parameters * _compute_bytes(model, compute_dtype)


def plan(settings: EmbedSettings, *, items: int | None = None, tokens_per_item: float | None = None) -> str:
    """The plan as text. `items` and `tokens_per_item` win over those of `PlanSettings`, these over the dataset's.

    Raises `UserError` where neither a dataset nor both of these are given, and as `resolve` and `sample_tokens` do.
    """
    if isinstance(settings, PlanSettings):
        items = settings.items or None if items is None else items
        tokens_per_item = settings.tokens_per_item or None if tokens_per_item is None else tokens_per_item
    if not settings.dataset and (not items or not tokens_per_item):
        raise UserError("plan: give --dataset FOLDER, or --items and --tokens_per_item for a catalogue not at hand")
    model = resolve(settings, hash_files=False)
    sample = _sample(settings, model) if settings.dataset else None
    n = items or (sample.items if sample else 0)
    each = tokens_per_item or (sample.tokens_per_item if sample else 0.0)
    each = min(each, model.max_tokens) if model.max_tokens else each
    id_bytes = sample.id_bytes if sample else ID_BYTES
    lines = [
        f"plan for {n:,} items with {model.name}" + (f", from {model.source}" if model.source != model.name else ""),
        *_about(model),
        *_tokens(n, each, None if tokens_per_item else sample, model),
        *_disk(n, model, settings, id_bytes),
        *_time(n * each, model, settings),
        "",
        list_presets(),
    ]
    return "\n".join(lines)


def list_presets() -> str:
    """The presets as a table of text."""
    rows = [("preset", "columns", "tokens", "parameters", "licence", "fewer columns")]
    for name, preset in PRESETS.items():
        fewer = preset.matryoshka.describe(preset.width) if preset.matryoshka else "no"
        tokens, size = f"{preset.max_tokens:,}", _short(preset.parameters)
        rows.append((name, f"{preset.width:,}", tokens, size, preset.licence, fewer))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _sample(settings: EmbedSettings, model: Model) -> TokenSample:
    path = Path(settings.dataset).expanduser() / "items.parquet"
    tokenizer = model.folder / "tokenizer.json" if model.folder else None
    known = tokenizer if tokenizer and tokenizer.is_file() else None
    return sample_tokens(path, settings.template, model.prompt, model.max_tokens, known)


def _about(model: Model) -> list[str]:
    prompt = f"prompt {model.prompt!r}" if model.prompt else "no prompt"
    size = _short(model.parameters) if model.parameters else "size not known before download"
    cut = f"{model.max_tokens:,} tokens" if model.max_tokens else "length as its files say"
    lines = [f"  model   {size}, {model.pooling} pooling, {cut}, {prompt}"]
    if model.licence:
        lines[0] += f", licence {model.licence}"
    return [*lines, f"          {model.caveat}"] if model.caveat else lines


def _tokens(items: int, each: float, sample: TokenSample | None, model: Model) -> list[str]:
    line = f"  tokens  {_short(items * each)}, {each:,.1f} an item"
    if sample is None:
        return [f"{line}, as given"]
    if sample.sampled < sample.items:
        share = 100 * 1.96 * sample.standard_error / max(sample.tokens_per_item, 1e-9)
        line += f", estimated from {sample.sampled:,} of {sample.items:,} items (95 %: +- {share:.1f} %)"
    else:
        line += f", of all {sample.items:,} items"
    if not sample.counted:
        line += f"; no tokenizer here, taken as {CHARACTERS_PER_TOKEN} characters a token"
    cut = round(sample.truncated * items)
    return [
        line,
        f"          {cut:,} items are cut at {model.max_tokens:,} tokens" if cut else "          no item is cut",
    ]


def _disk(items: int, model: Model, settings: EmbedSettings, id_bytes: float) -> list[str]:
    if not model.width:
        return ["  disk    not known before the model is downloaded"]
    need = disk_bytes(items, model.width, settings.dtype, id_bytes)
    lines = [f"  disk    {_size(need)} ({items:,} x {model.width:,} x {settings.dtype})"]
    free = _free(settings.output) if settings.output else None
    if free is not None and free < need:
        remedies = ["another --output"] + (["--dtype float16 (half)"] if settings.dtype == "float32" else [])
        remedies += ["a smaller --width"] if model.matryoshka else []
        lines.append(f"          does not fit: {_size(free)} are free at {settings.output}; {' or '.join(remedies)}")
    return lines


def _time(tokens: float, model: Model, settings: EmbedSettings) -> list[str]:
    if not model.parameters:
        return ["  time    not known before the model is downloaded"]
    weights, parts = weights_bytes(model, settings.compute_dtype), settings.tensor_parallel
    lines = [
        f"  memory  {_size(weights / parts)} of weights on each of {parts} GPU(s) of a copy"
        if parts > 1
        else f"  memory  {_size(weights)} of weights for each copy of the model"
    ]
    used = settings.replicas * parts
    profiles = sorted(PROFILES.values(), key=lambda profile: not profile.is_gpu)
    for hardware in profiles:
        one = device_hours(model, tokens, hardware, settings.compute_dtype)
        share = utilisation(model.parameters, hardware)
        if not hardware.is_gpu:
            cores = settings.replicas * settings.cpus
            said = f"{_hours(one)} core-hours, {duration(one * 3600 / cores)} on {cores}, measured rate of MiniLM"
        else:
            said = f"{_hours(one)} GPU-hours, {duration(one * 3600 / used)} on {used}, at {share:.0%} of peak (assumed)"
        lines.append(f"  {'time' if hardware is profiles[0] else '':6}  {hardware.name:11}  {said}")
        if hardware.is_gpu and weights / parts > WEIGHTS_SHARE * hardware.memory:
            lines.append(f"          {'':11}  does not fit: {_cure(weights, model, settings, hardware)}")
    return lines


def _cure(weights: float, model: Model, settings: EmbedSettings, hardware: Hardware) -> str:
    needed = 2 ** math.ceil(math.log2(weights / (WEIGHTS_SHARE * hardware.memory)))
    halved = " or --compute_dtype bfloat16" if _compute_bytes(model, settings.compute_dtype) == 4 else ""
    return f"--tensor_parallel {needed}{halved}"


def _compute_bytes(model: Model, compute_dtype: str) -> int:
    return _BYTES.get(compute_dtype, model.bytes_per_parameter or 4)


def _free(output: str) -> int | None:
    for folder in (path := Path(output).expanduser().absolute(), *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return None


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 0.1 else f"{hours:.2g}"


def _short(number: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f}"


def _size(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:,.1f} MiB"
