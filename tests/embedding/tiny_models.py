"""Language models of random weights, small enough to make and run in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from bifair_dist.embedding.models import packaged_folder

POISON = "zzpoisonzz"
"""A word whose token vector in the tiny decoder is NaN: an item that holds it fails."""


def tiny_decoder(folder: Path, layers: int = 2, width: int = 64) -> Path:
    """A Qwen3-style decoder with MiniLM's tokenizer, saved as a model folder."""
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder())
    tokenizer.add_tokens([POISON])
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=128,
        architectures=["Qwen3ForCausalLM"],
        tie_word_embeddings=True,
    )
    model = Qwen3Model(config)
    for parameter in model.parameters():  # the usual small start makes all texts look alike
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(POISON)] = float("nan")
    model.save_pretrained(folder)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder
