"""Item rows to token ids, with the model's own tokenizer, cut at the model's length and counted."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bifair_dist.embedding.items import ROW
from bifair_dist.embedding.texts import Template


@dataclass(frozen=True, slots=True)
class Tokens:
    """A step on tables: `row`, `item_id` and the template's columns in; `row`, `item_id`, `text`, `ids`, `tokens`,
    `truncated` out.

    `ids` int32 lists of at most `max_tokens`, special tokens included; `tokens` their lengths; `truncated` tells where
    a text had more.
    """

    source: str
    template: str
    prompt: str
    max_tokens: int
    trust_remote_code: bool = False

    def __call__(self, table: pa.Table) -> pa.Table:
        """One unit."""
        texts = Template.parse(self.template).fill(table, self.prompt)
        tokenizer = _tokenizer(self.source, self.trust_remote_code)
        ids = tokenizer(texts, truncation=True, max_length=self.max_tokens)["input_ids"]
        lengths = np.fromiter((len(i) for i in ids), np.int32, len(ids))
        truncated = np.zeros(len(ids), bool)
        full = np.flatnonzero(lengths == self.max_tokens)  # only these can have lost something
        if full.size:
            whole = tokenizer([texts[i] for i in full], truncation=False, verbose=False)["input_ids"]
            truncated[full] = [len(i) > self.max_tokens for i in whole]
        return pa.table(
            {
                ROW: table[ROW],
                "item_id": table["item_id"].cast(pa.string()),
                "text": pa.array(texts, pa.string()),
                "ids": pa.array(ids, pa.list_(pa.int32())),
                "tokens": pa.array(lengths),
                "truncated": pa.array(truncated),
            }
        )


@functools.lru_cache(maxsize=2)
def _tokenizer(source: str, trust_remote_code: bool) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
