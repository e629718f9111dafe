"""What llama.cpp asserts rather than reports: a file that breaks one of these would end the kernel.

Found by loading files with mutated headers in child processes (llama.cpp as of llama-cpp-python 0.3.36). Whatever
else it refuses, it refuses with an error. This list cannot be complete: a file from an untrusted source can be
loaded in a child process first, see `exsa_lab.models.trial`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from exsa_lab.errors import InvalidModel
from exsa_lab.models.gguf_reader import Header, read_strings

_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_MAX_EXPERTS = 1_024
_NOT_WEIGHTS = frozenset({"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"})
"""Types that llama.cpp has no matrix product for: it jumps through a null pointer."""
_OTHER_KINDS = {
    "t5": "an encoder-decoder model",
    "t5encoder": "a text encoder",
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), "a diffusion model"),
    **dict.fromkeys(("eagle3", "dflash"), "a draft head that cannot run without its target"),
    **dict.fromkeys(("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert"), "an embedding model"),
    **dict.fromkeys(("jina-bert-v2", "jina-bert-v3", "eurobert", "gemma-embedding"), "an embedding model"),
    **dict.fromkeys(("clip", "wavtokenizer-dec"), "no language model"),
}
"""Architectures that llama.cpp loads, or not, but that do not generate token by token. Decoding with an
encoder-decoder ends the process in 0.3.36."""
_FULLY_ROTARY = ("qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3")
"""Architectures whose rotary embedding must span the whole head."""
_CONV_BIAS = ("ssm_conv1d.weight", ("ssm_conv1d.bias",))
_NEEDED = {
    **dict.fromkeys(("qwen35", "qwen35moe"), ("ssm_a", ("attn_qkv.weight", "attn_gate.weight"))),
    **dict.fromkeys(("granitehybrid", "nemotron_h", "nemotron_h_moe"), _CONV_BIAS),
}
"""Of each architecture: a tensor that a layer may have, and others that llama.cpp then uses without asking for them."""


def check_assertions(path: Path, header: Header) -> None:
    """Raise InvalidModel for models that do not generate, and metadata that llama.cpp would abort the process over."""
    _check_generates(path, header)
    _check_numbers(path, header)
    _check_experts(path, header)
    _check_tensor_types(path, header)
    _check_needed(path, header)
    _check_special_tokens(path, header)
    _check_tokens(path, header)


def check_rotary(path: Path, architecture: str, rotary: int, key_length: int) -> None:
    """Raise InvalidModel where the rotary embedding does not fit the heads."""
    if rotary > key_length or (architecture in _FULLY_ROTARY and rotary != key_length):
        raise _invalid(path, f"rotates {rotary} of the {key_length} dimensions of its heads")


def _invalid(path: Path, what: str) -> InvalidModel:
    return InvalidModel(f"{path.name} {what}.", hint="The file is damaged or unsafe; get it again from its source.")


def _check_generates(path: Path, header: Header) -> None:
    architecture = str(header.metadata.get("general.architecture"))
    kind = _OTHER_KINDS.get(architecture)
    pooling = header.metadata.get(f"{architecture}.pooling_type", 0)
    if kind is None and (pooling or header.metadata.get(f"{architecture}.attention.causal") is False):
        kind = "an embedding model"
    if kind:
        raise InvalidModel(
            f"{path.name} is {kind} ({architecture[:40]}).", hint="exsa_lab runs models that generate token by token."
        )


def _check_numbers(path: Path, header: Header) -> None:
    for key, value in header.metadata.items():
        if isinstance(value, float) and value != value:
            raise _invalid(path, f"has {key[:80]} that is not a number")
        if key.endswith("epsilon") and isinstance(value, int | float) and value < 0:
            raise _invalid(path, f"has the impossible {key[:80]} {value}")
        if key.endswith(".rope.scaling.type") and value not in _ROPE_SCALINGS:
            raise _invalid(path, f"has the unknown rope scaling {str(value)[:40]!r}")


def _check_experts(path: Path, header: Header) -> None:
    architecture = header.metadata.get("general.architecture")
    counts = []
    for key in ("expert_count", "expert_used_count"):
        value = header.metadata.get(f"{architecture}.{key}", 0)
        value = max(value, default=0) if isinstance(value, tuple) else value
        if type(value) is not int or not 0 <= value <= _MAX_EXPERTS:
            raise _invalid(path, f"has the impossible {architecture}.{key} {str(value)[:40]}")
        counts.append(value)
    experts, used = counts
    if used > experts or (experts and not used):
        raise _invalid(path, f"uses {used} of {experts} experts")


def _check_tensor_types(path: Path, header: Header) -> None:
    for tensor in header.tensors:
        is_matrix = len(tensor.shape) > 1
        if tensor.type in _NOT_WEIGHTS if is_matrix else tensor.type != "F32":
            raise _invalid(path, f"stores the {'matrix' if is_matrix else 'vector'} {tensor.name!r} as {tensor.type}")


def _check_needed(path: Path, header: Header) -> None:
    has, needed = _NEEDED.get(str(header.metadata.get("general.architecture")), ("", ()))
    names = {tensor.name for tensor in header.tensors}
    for layer in (name.removesuffix(has) for name in names if needed and name.endswith("." + has)):
        for name in needed:
            if layer + name not in names:
                raise _invalid(path, f"has no tensor {layer + name!r}")


def _check_special_tokens(path: Path, header: Header) -> None:
    kind = header.metadata.get("tokenizer.ggml.model")
    if kind == "bert":
        raise _invalid(path, "has the tokenizer of a text encoder, which does not generate")
    if kind in ("llama", "gpt2"):
        return  # llama.cpp has defaults for these.
    for name in ("bos", "eos"):
        adds = header.metadata.get(f"tokenizer.ggml.add_{name}_token")
        if adds and f"tokenizer.ggml.{name}_token_id" not in header.metadata:
            raise _invalid(path, f"adds a {name.upper()} token but does not say which")


def _check_tokens(path: Path, header: Header) -> None:
    tokens = read_strings(path, header.arrays["tokenizer.ggml.tokens"])
    known = set(tokens)
    if len(known) != len(tokens):
        twice = Counter(tokens).most_common(1)[0][0]
        raise _invalid(
            path, f"has the token {twice[:40].decode('utf-8', 'backslashreplace')!r} twice in its vocabulary"
        )
    if header.metadata.get("tokenizer.ggml.model") == "llama":
        # SentencePiece falls back to single bytes, which must all be there.
        missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in known and bytes([byte]) not in known]
        if missing:
            raise _invalid(path, f"has no token for the byte 0x{missing[0]:02X}")
