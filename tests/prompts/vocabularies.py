"""Tiny models with real kinds of tokenizers: llama.cpp loads them, computes with them, and splits texts its own way."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.runtime.model import LlamaModel
from tests.models.gguf_files import LOADABLE, data_bytes, header
from tests.models.gguf_files import LOADABLE_TENSORS as TENSORS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
KINDS = ("smollm", "qwen2", "llama-bpe", "spm")
"""Three kinds of BPE, and SentencePiece with bytes to fall back on."""
SPECIALS = {
    "<s>": CONTROL,
    "</s>": CONTROL,
    "<|im_start|>": CONTROL,
    "<|im_end|>": CONTROL,
    "<|turn|>": USER_DEFINED,
    "<think>": USER_DEFINED,
    "</think>": USER_DEFINED,
    "    ": USER_DEFINED,
}
_WORDS = ("he", "ll", "hell", "hello", "us", "er", "user", "\u2581w", "\u2581wo", "rl", "\u2581worl", "\u2581world")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _byte_letters() -> list[str]:
    """GPT-2's alphabet: a printable letter for each byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


def vocabulary(kind: str) -> dict[str, Any]:
    """Return the metadata of a tokenizer with ``SPECIALS``."""
    if kind == "spm":
        pieces = [("<unk>", UNKNOWN), *[(f"<0x{byte:02X}>", BYTE) for byte in range(256)]]
        pieces += [(text, NORMAL) for text in (*_WORDS, "\u2581", *map(chr, range(33, 127)))]
        extra: dict[str, Any] = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.unknown_token_id": 0}
    else:
        letters = _byte_letters()
        merges = ["h e", "l l", "he ll", "hell o", "u s", "e r", "us er", "\u0120 w", "o r", "\u0120w or", "l d"]
        pieces = [(text, NORMAL) for text in (*letters, *(merge.replace(" ", "") for merge in merges))]
        extra = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": kind, "tokenizer.ggml.merges": merges}
    pieces += list(SPECIALS.items())
    texts = [text for text, _ in pieces]
    return {
        **extra,
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": (9, struct.pack(f"<IQ{len(pieces)}i", 5, len(pieces), *(k for _, k in pieces))),
        "tokenizer.ggml.scores": (9, struct.pack(f"<IQ{len(pieces)}f", 6, len(pieces), *map(_score, texts))),
        "tokenizer.ggml.bos_token_id": texts.index("<s>"),
        "tokenizer.ggml.eos_token_id": texts.index("<|im_end|>"),
    }


def _score(text: str) -> float:
    return float(len(text)) - 100.0


def write_model(path: Path, kind: str = "smollm", **changes: Any) -> Path:
    """Write a two-layer model of noughts; ``changes`` replace metadata, dots written as two underscores."""
    metadata = {key: value for key, value in LOADABLE.items() if not key.startswith("tokenizer.")}
    metadata |= {**vocabulary(kind), "tokenizer.ggml.add_bos_token": False, "tokenizer.chat_template": CHATML}
    metadata |= {key.replace("__", "."): value for key, value in changes.items()}
    num_tokens = len(metadata["tokenizer.ggml.tokens"])
    tensors = [
        (name, (shape[0], num_tokens) if name == "token_embd.weight" else shape, t) for name, shape, t in TENSORS
    ]
    known = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(header(known, tensors) + bytes(data_bytes(tensors)))
    return path


def open_model(path: Path, kind: str = "smollm", **changes: Any) -> LlamaModel:
    return LlamaModel(write_model(path / f"{kind}.gguf", kind, **changes), EngineConfig(n_ctx=512))
