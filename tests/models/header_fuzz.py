"""Loads mutated files the way the engine does, in this process; run in a child by test_header_fuzz.py.

python -m tests.models.header_fuzz FOLDER SEED COUNT

Prints what it is about to load, so that after a crash the last line names the mutation, and at the end the counts.
"""

from __future__ import annotations

import random
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ExsaError, ModelError
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.runtime.model import LlamaModel
from tests.models.gguf_files import LOADABLE, LOADABLE_TENSORS, TOKENS, data_bytes, header

CONFIG = EngineConfig(n_ctx=64, n_seq_max=1, n_batch=64)
NUMBERS = [0, 1, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
ARCHITECTURES = ("llama", "gemma3", "qwen2", "qwen3", "mamba", "falcon", "gpt2", "bert", "t5", "deepseek2", "phi3")
TOKENIZERS = ("llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "none")
BYTES = [b"<0x%02X>" % byte for byte in range(256)]
OTHER_KEYS = (
    "llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.expert_count", "llama.expert_used_count",
    "llama.attention.key_length", "llama.attention.value_length", "llama.vocab_size", "llama.attention.sliding_window",
    "llama.pooling_type", "llama.attention.causal", "llama.logit_scale", "tokenizer.ggml.scores", "split.count",
    "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.precompiled_charsmap",
)  # fmt: skip
VALUES: list[Any] = [
    0, 1, 2, 3, 4, 7, 8, 16, 31, 33, 64, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1, True, False, 0.0, -1.0, 1e30,
    float("nan"), "", "x", *TOKENIZERS, [1, 2], [0, 0], [2**32 - 1, 1], ["a"], ["a", "a"], [""] * 8, ["a"] * 8,
    [b"\xff\xfe"] * 8, [0] * 8, (9, struct.pack("<IQ", 4, 0)), (9, struct.pack("<IQ", 8, 0)),
    (9, struct.pack("<IQ8i", 5, 8, *[-1] * 8)), (9, struct.pack("<IQ8f", 6, 8, *[float("nan")] * 8)),
    (10, struct.pack("<Q", 2**64 - 1)), (5, struct.pack("<i", -1)), (12, struct.pack("<d", 1e300)), None,
]  # fmt: skip


def mutated_bytes(rng: random.Random) -> tuple[str, bytes]:
    """Change one to three places of the header, blindly."""
    raw = bytearray(header(LOADABLE, LOADABLE_TENSORS))
    end = len(raw)
    raw += bytes(data_bytes(LOADABLE_TENSORS))
    changes = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(4, end)
        piece = rng.choice([rng.randbytes(1), rng.randbytes(1), struct.pack("<Q", rng.choice(NUMBERS)),
                            struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)])  # fmt: skip
        raw[at : at + len(piece)] = piece
        changes.append((at, piece.hex()))
    return str(changes), bytes(raw)


def mutated_metadata(rng: random.Random) -> tuple[str, bytes]:
    """Give one or two keys other values, sometimes with another tokenizer or architecture."""
    changes: dict[str, Any] = {}
    if rng.random() < 0.2:
        changes["tokenizer.ggml.tokens"] = TOKENS + BYTES
        changes["tokenizer.ggml.token_type"] = None
    if rng.random() < 0.2:
        changes["tokenizer.ggml.model"] = rng.choice(TOKENIZERS)
    for _ in range(rng.choice([1, 1, 2])):
        changes[rng.choice([*LOADABLE, *OTHER_KEYS])] = rng.choice(VALUES)
    architecture = rng.choice(ARCHITECTURES) if rng.random() < 0.25 else "llama"
    metadata = {
        key.replace("llama.", f"{architecture}.", 1) if key.startswith("llama.") else key: value
        for key, value in {**LOADABLE, "general.architecture": architecture, **changes}.items()
        if value is not None
    }
    return f"{architecture} {changes}"[:300], header(metadata, LOADABLE_TENSORS) + bytes(data_bytes(LOADABLE_TENSORS))


def try_once(path: Path) -> str:
    try:
        read_facts(path)
    except ModelError:
        return "refused"
    try:
        model = LlamaModel(path, CONFIG)
    except ExsaError:
        return "refused by llama.cpp"
    try:
        context = model.open_context(CONFIG, 1)
        batch = context.new_batch()
        batch.add(model.tokenize("abc", add_special=True, parse_special=True)[:8] or [0], 0, 0, 1)
        context.decode(batch)
        model.token_label(0)
        context.close()
    except ExsaError:
        return "failed with an error"
    finally:
        model.close()
    return "computed"


def main(folder: Path, seed: int, count: int) -> None:
    rng = random.Random(seed)
    path = folder / "mutated.gguf"
    path.write_bytes(header(LOADABLE, LOADABLE_TENSORS) + bytes(data_bytes(LOADABLE_TENSORS)))
    assert try_once(path) == "computed"
    outcomes: Counter[str] = Counter()
    for number in range(count):
        what, raw = (mutated_bytes if number % 2 else mutated_metadata)(rng)
        print(f"{number}: {what}", flush=True)
        path.write_bytes(raw)
        outcomes[try_once(path)] += 1
    print(dict(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
