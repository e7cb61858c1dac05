"""How many tokens the texts of a catalogue have: all items of a small one, an even sample of a large one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.embedding.texts import Template, check_template
from bifair_dist.errors import UserError

SAMPLE = 10_000
CHARACTERS_PER_TOKEN = 4  # where no tokenizer is at hand: about right for English
_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class TokenSample:
    """Tokens of texts after the cut at the model's length. `counted` is False where they were guessed from letters."""

    items: int  # in the catalogue
    sampled: int
    tokens_per_item: float
    standard_error: float  # of tokens_per_item; 0 where every item was counted
    truncated: float  # share of items that are cut
    id_bytes: float  # mean length of an item id
    counted: bool


def sample_tokens(
    items: Path, template: str | Template, prompt: str, max_tokens: int, tokenizer: Path | None, sample: int = SAMPLE
) -> TokenSample:
    """Count the tokens of the items of items.parquet; `tokenizer` is a tokenizer.json, `max_tokens` 0 for no cut.

    Of more than `sample` items every n-th is counted, so the order of ids makes no difference. Memory is that of a
    block of rows and of the sample. Raises `UserError` as `check_template` and `Template.fill` do.
    """
    parsed = check_template(items, template)
    texts, ids, rows = _texts(items, parsed, prompt, sample)
    if rows == 0:
        raise UserError(f"{items}: no rows; prepare the dataset again")
    if tokenizer is not None:
        counts = _count(texts, tokenizer)
    else:
        counts = np.array([math.ceil(len(text) / CHARACTERS_PER_TOKEN) for text in texts], np.float64)
    kept = np.minimum(counts, max_tokens) if max_tokens else counts
    part = len(texts) < rows
    error = float(kept.std(ddof=1) / math.sqrt(len(kept)) * math.sqrt(1 - len(kept) / rows)) if part else 0.0
    cut = float((counts > max_tokens).mean()) if max_tokens else 0.0
    return TokenSample(rows, len(texts), float(kept.mean()), error, cut, ids, tokenizer is not None)


def _texts(items: Path, template: Template, prompt: str, sample: int) -> tuple[list[str], float, int]:
    """Texts of an even sample, mean bytes of an id in it, rows of the file."""
    with pq.ParquetFile(items) as file:
        rows = file.metadata.num_rows
        taken = min(sample, rows)
        wanted = ((np.arange(taken) + 0.5) * (rows / max(taken, 1))).astype(np.int64)
        names = list(dict.fromkeys([*template.columns, "item_id"]))
        texts: list[str] = []
        id_bytes, start = 0, 0
        for block in file.iter_batches(_ROWS, columns=names):
            here = wanted[(wanted >= start) & (wanted < start + block.num_rows)] - start
            start += block.num_rows
            if here.size:
                part = pa.Table.from_batches([block]).take(here)
                texts += template.fill(part, prompt)
                id_bytes += pc.sum(pc.binary_length(part["item_id"].cast(pa.string()))).as_py()
    return texts, id_bytes / max(taken, 1), rows


def _count(texts: list[str], path: Path) -> npt.NDArray[np.float64]:
    from tokenizers import Tokenizer

    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no type of its own
        raise UserError(f"model: {path} cannot be read ({str(error).splitlines()[0]}); download it again") from None
    tokenizer.no_truncation()  # some files carry both
    tokenizer.no_padding()
    counts: list[int] = []
    for first in range(0, len(texts), 1000):
        counts += [len(encoding) for encoding in tokenizer.encode_batch(texts[first : first + 1000])]
    return np.array(counts, np.float64)
