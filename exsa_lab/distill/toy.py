"""A toy target: a small random Llama over bytes, whose text a draft learns within a minute. For lessons and tests."""

from __future__ import annotations

from pathlib import Path

import torch

from exsa_lab.distill.drafts import new_draft
from exsa_lab.distill.export import write_gguf
from exsa_lab.distill.llama import Shape

_BYTES = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]]
_BYTES += [chr(256 + i) for i in range(256 - len(_BYTES))]
TOKENS = [*_BYTES, "th", "<|end|>", "<|user|>"]
"""The vocabulary: every byte, one merged pair, an end token and the mark of a user's turn."""
SHAPE = Shape(64, 2, 2, 1, 96, len(TOKENS))


def write_toy_target(path: Path, seed: int = 1) -> None:
    """Write the toy target as a GGUF with a byte tokenizer and a chat template.

    Its weights are random, so its text means nothing; but it is sure of what comes next, so there is much to learn.
    """
    import gguf

    vocabulary = path.with_suffix(".vocabulary.gguf")
    writer = gguf.GGUFWriter(vocabulary, "llama")
    writer.add_context_length(512)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(False)
    writer.add_chat_template("<|user|>{{ messages[0]['content'] }}<|end|>")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    chance = torch.Generator().manual_seed(seed)
    weights = new_draft(SHAPE, torch.randn(len(TOKENS), SHAPE.width, generator=chance), 3)
    weights["output_norm.weight"] *= 8  # Sure of itself: otherwise there is little to agree on.
    write_gguf(path, "toy", SHAPE, {name: weight.numpy() for name, weight in weights.items()}, vocabulary, "f16")
    vocabulary.unlink()
