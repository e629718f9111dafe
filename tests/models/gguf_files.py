"""Writes tiny GGUF files, right ones and wrong ones, without help of any GGUF library."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

TOKENS = [b"<unk>", b"<s>", b"</s>", b"a", b"b", b"c", b"d", b"e"]

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.chat_template": "{{ messages[0].content }}",
}

F32, Q8_0 = 0, 8
TENSORS: list[tuple[str, tuple[int, ...], int]] = [
    ("token_embd.weight", (32, 8), Q8_0),
    ("blk.0.attn_norm.weight", (32,), F32),
    ("blk.0.ffn_up.weight", (32, 64), Q8_0),
    ("blk.1.ffn_up.weight", (32, 64), Q8_0),
]

# A model llama.cpp really loads and computes with.
_WIDTH, _INNER = 32, 64
LOADABLE: dict[str, Any] = {
    **METADATA,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": 8,
    "llama.rope.freq_base": 10_000.0,
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.merges": ["a b", "c d"],
    "tokenizer.ggml.token_type": (9, struct.pack("<IQ8i", 5, 8, 3, 3, 3, 1, 1, 1, 1, 1)),
}
LOADABLE_TENSORS: list[tuple[str, tuple[int, ...], int]] = [
    ("token_embd.weight", (_WIDTH, len(TOKENS)), Q8_0),
    ("output_norm.weight", (_WIDTH,), F32),
    *(
        (f"blk.{layer}.{name}.weight", shape, F32 if len(shape) == 1 else Q8_0)
        for layer in range(2)
        for name, shape in {
            "attn_norm": (_WIDTH,),
            "ffn_norm": (_WIDTH,),
            "attn_q": (_WIDTH, _WIDTH),
            "attn_k": (_WIDTH, _WIDTH // 2),
            "attn_v": (_WIDTH, _WIDTH // 2),
            "attn_output": (_WIDTH, _WIDTH),
            "ffn_gate": (_WIDTH, _INNER),
            "ffn_up": (_WIDTH, _INNER),
            "ffn_down": (_INNER, _WIDTH),
        }.items()
    ),
]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(item: Any) -> bytes:
    """Encode a value with its type: bool, int (u32), float, str, list of str/bytes/int, or (type, raw bytes)."""
    if isinstance(item, tuple):
        return struct.pack("<I", item[0]) + item[1]
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    if item and isinstance(item[0], int):
        return struct.pack(f"<IIQ{len(item)}I", 9, 4, len(item), *item)
    return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))


def size_of(shape: tuple[int, ...], kind: int) -> int:
    elements = 1
    for length in shape:
        elements *= length
    return elements * 4 if kind == F32 else elements // 32 * 34


def header(metadata: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], int]]) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    parts += [text(key) + value(item) for key, item in metadata.items()]
    offset = 0
    for name, shape, kind in tensors:
        parts.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        offset += -(-size_of(shape, kind) // 32) * 32
    raw = b"".join(parts)
    return raw + bytes(-len(raw) % 32)


def data_bytes(tensors: list[tuple[str, tuple[int, ...], int]]) -> int:
    return sum(-(-size_of(shape, kind) // 32) * 32 for _, shape, kind in tensors)


def write(path: Path, tensors: list[tuple[str, tuple[int, ...], int]] | None = None, **changes: Any) -> Path:
    """Write a tiny model; ``changes`` replace metadata, dots written as two underscores, None removes a key."""
    metadata = dict(METADATA)
    for key, item in changes.items():
        metadata[key.replace("__", ".")] = item
    tensors = TENSORS if tensors is None else tensors
    raw = header({k: v for k, v in metadata.items() if v is not None}, tensors)
    path.write_bytes(raw + bytes(data_bytes(tensors)))
    return path
