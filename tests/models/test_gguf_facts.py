"""Facts are read right, and nothing a file claims is believed before it is checked."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.errors import InvalidModel, ModelError, ModelNotFound
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.gguf_reader import TENSOR_TYPES
from exsa_lab.models.memory import kv_bytes
from tests.models import gguf_files
from tests.models.gguf_files import METADATA, TENSORS, header, value, write


def test_facts_of_a_tiny_model(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "tiny.gguf"))
    assert (facts.architecture, facts.name, facts.layers, facts.heads, facts.kv_heads) == (
        "llama",
        "tiny",
        2,
        4,
        (2, 2),
    )
    assert (facts.embedding, facts.context_limit, facts.feed_forward) == (32, 256, 64)
    assert facts.chat_template == "{{ messages[0].content }}"
    assert facts.quantisation == "Q8_0"
    assert facts.layer_bytes == (32 * 4 + 32 * 64 // 32 * 34, 32 * 64 // 32 * 34)
    assert facts.other_bytes == facts.output_bytes == 8 * 34
    assert facts.num_parameters == 32 * 8 + 32 + 2 * 32 * 64
    vocabulary = facts.vocabulary
    assert (vocabulary.size, vocabulary.bos_id, vocabulary.eos_id, vocabulary.eot_id) == (8, 1, 2, None)
    assert vocabulary.read_tokens() == gguf_files.TOKENS
    assert vocabulary.token_text(1) == "<s>"


def test_kv_bytes_count_heads_layers_and_type(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "tiny.gguf"))
    assert facts.kv_bytes_per_token() == 2 * 2 * (8 + 8) * 2
    assert facts.kv_bytes_per_token("q8_0") == 2 * 2 * (8 + 8) * 34 / 32


def test_heads_may_differ_by_layer(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "m.gguf", llama__attention__head_count_kv=[4, 1]))
    assert facts.kv_heads == (4, 1)
    assert facts.kv_bytes_per_token() == 5 * 16 * 2


def test_layers_may_share_a_cache_and_those_of_a_window_have_shorter_heads(tmp_path: Path) -> None:
    """As Gemma 4 has them; llama.cpp reports 256 bytes a cell for two layers of 8 and one of 16 with two heads each."""
    changes: dict[str, Any] = {
        "general__architecture": "gemma4",
        **{f"gemma4.{key.partition('.')[2]}": value for key, value in gguf_files.METADATA.items() if "llama." in key},
        "gemma4.block_count": 6,
        "gemma4.attention.key_length": 16,
        "gemma4.attention.value_length": 16,
        "gemma4.attention.key_length_swa": 8,
        "gemma4.attention.value_length_swa": 8,
        "gemma4.attention.sliding_window": 32,
        "gemma4.attention.sliding_window_pattern": [1, 1, 0, 1, 1, 0],
        "gemma4.attention.shared_kv_layers": 3,
    }
    facts = read_facts(write(tmp_path / "m.gguf", **changes))
    assert facts.kv_heads == (2, 2, 2, 0, 0, 0)
    assert facts.kv_bytes_per_token() == 256
    assert kv_bytes(facts, 100, layers=4) == 12_800


@pytest.mark.parametrize(
    ("own", "numbers"),
    [
        ({"key_length_swa": 4, "value_length_swa": 6}, 10),
        ({"key_length_swa": 4}, 4 + 8),
        ({"value_length_swa": 6}, 16 + 6),
        ({}, 16 + 8),
        ({"key_length_swa": 4, "value_length_swa": 6, "key_length_mla": 12, "value_length_mla": 12}, 4),
        ({"key_length_mla": 12, "value_length_mla": 12}, 16),
    ],
)
def test_a_length_that_the_windows_layers_do_not_have_is_that_of_the_others(
    own: dict[str, int], numbers: int, tmp_path: Path
) -> None:
    """As in llama.cpp, one by one; latent attention caches no values."""
    lengths = {f"llama__attention__{name}": length for name, length in own.items()}
    full = 16 if "key_length_mla" in own else 16 + 8
    facts = read_facts(
        write(
            tmp_path / "m.gguf",
            llama__attention__key_length=16,
            llama__attention__value_length=8,
            llama__attention__sliding_window=32,
            llama__attention__sliding_window_pattern=[1, 0],
            **lengths,
        )
    )
    assert facts.kv_numbers == (2 * numbers, 2 * full)


def test_layers_that_predict_further_tokens_have_no_cache(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "m.gguf", llama__nextn_predict_layers=1))
    assert facts.kv_heads == (2, 0)


@pytest.mark.real
def test_facts_of_the_default_pair() -> None:
    from exsa_lab.models.resolve import resolve, resolve_draft

    target = resolve("smollm2-135m")
    facts = read_facts(target.path)
    assert (facts.layers, facts.heads, facts.kv_heads[0], facts.vocabulary.size) == (30, 9, 3, 49_152)
    assert (facts.quantisation, facts.context_limit) == ("Q4_1", 8192)
    assert facts.kv_bytes_per_token() == 30 * 3 * 128 * 2
    assert 134e6 < facts.num_parameters < 135e6
    draft = resolve_draft("auto", target)
    assert draft is not None
    assert read_facts(draft.path).quantisation == "Q8_0"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    assert read_facts(path) is read_facts(path)
    write(path, general__name="other name")
    assert read_facts(path).name == "other name"


def test_the_table_of_types_is_that_of_llama_cpp() -> None:
    import ctypes

    import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(next(folder.glob("*ggml-base.*"))))
    ggml.ggml_type_size.restype, ggml.ggml_blck_size.restype = ctypes.c_size_t, ctypes.c_int64
    for number, kind in TENSOR_TYPES.items():
        assert (kind.block, kind.block_bytes) == (ggml.ggml_blck_size(number), ggml.ggml_type_size(number)), kind.name


# Files that are not models


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no file"):
        read_facts(tmp_path / "absent.gguf")


def test_a_name_with_a_null_byte() -> None:
    with pytest.raises(ModelNotFound):
        read_facts("a\0b.gguf")


def test_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "inside.gguf")
    with pytest.raises(InvalidModel, match=r"is a directory.*inside\.gguf"):
        read_facts(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(InvalidModel, match="not a regular file"):
        read_facts(tmp_path / "pipe.gguf")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
        (b"GGUF\x03", "too few"),
        (b"FUGG" + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1) + bytes(100), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 1, 1) + bytes(100), "version 4"),
        (b"tjgg" + bytes(100), "older than GGUF"),
    ],
)
def test_not_a_usable_gguf(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    with pytest.raises(InvalidModel, match=message):
        read_facts(path)


def test_truncated_weights_say_how_much_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InvalidModel, match=r"truncated: 100 of its [\d,]+ bytes are missing"):
        read_facts(path)


def test_every_cut_of_the_header_is_refused(tmp_path: Path) -> None:
    raw = header(METADATA, TENSORS)
    path = tmp_path / "m.gguf"
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        with pytest.raises(ModelError):
            read_facts(path)


# Lengths that lie

BIG = [2**63 - 1, 2**64 - 1, 2**64 - 8, 2**32, 10**9]


def patched(path: Path, at: int, number: int) -> Path:
    raw = bytearray(header(METADATA, TENSORS) + bytes(gguf_files.data_bytes(TENSORS)))
    raw[at : at + 8] = struct.pack("<Q", number)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("number", BIG)
@pytest.mark.parametrize(
    "where", ["tensors", "keys", "key length", "array items", "string in array", "tensor name", "offset"]
)
def test_lengths_that_overflow(tmp_path: Path, where: str, number: int) -> None:
    raw = header(METADATA, TENSORS)
    array = raw.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8
    tensor = raw.index(b"token_embd.weight") - 8
    at = {
        "tensors": 8,
        "keys": 16,
        "key length": 24,
        "array items": array,
        "string in array": array + 8,
        "tensor name": tensor,
        "offset": tensor + 8 + len(b"token_embd.weight") + 4 + 16 + 4,
    }[where]
    tracemalloc.start()
    with pytest.raises(InvalidModel):
        read_facts(patched(tmp_path / "m.gguf", at, number))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama__block_count": 0}, "impossible llama.block_count"),
        ({"llama__block_count": 2**32 - 1}, "impossible llama.block_count"),
        ({"llama__block_count": "two"}, "impossible llama.block_count"),
        ({"llama__block_count": None}, "has no llama.block_count"),
        ({"llama__attention__head_count": [1, 2, 3]}, "impossible llama.attention.head_count"),
        ({"llama__embedding_length": True}, "impossible llama.embedding_length"),
        ({"general__architecture": None}, "does not name its architecture"),
        ({"general__architecture": 7}, "not a text"),
        ({"general__alignment": 24}, "general.alignment is 24"),
        ({"general__alignment": 0}, "general.alignment is 0"),
        ({"tokenizer__ggml__tokens": None}, "has no vocabulary"),
        ({"tokenizer__ggml__tokens": [1, 2, 3]}, "has no vocabulary"),
        ({"tokenizer__chat_template": 5}, "not a text"),
        ({"odd": (9, struct.pack("<IQ", 9, 1))}, "unsupported item type 9"),
        ({"odd": (13, b"")}, "unknown value type 13"),
    ],
)
def test_impossible_metadata(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        read_facts(write(tmp_path / "m.gguf", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama__attention__layer_norm_rms_epsilon": -1.0}, "impossible llama.attention.layer_norm_rms_epsilon"),
        ({"llama__attention__layer_norm_rms_epsilon": float("nan")}, "that is not a number"),
        ({"llama__rope__scaling__type": "dynamic"}, "unknown rope scaling 'dynamic'"),
        ({"llama__rope__dimension_count": 64}, "rotates 64 of the 8 dimensions"),
        ({"llama__expert_count": 2000}, "impossible llama.expert_count"),
        ({"llama__expert_count": 4}, "uses 0 of 4 experts"),
        ({"llama__expert_used_count": 4}, "uses 4 of 0 experts"),
        ({"tokenizer__ggml__tokens": [b"a", b"b", b"a"]}, "the token 'a' twice"),
        ({"tokenizer__ggml__model": "llama"}, "no token for the byte 0x00"),
        ({"tokenizer__ggml__model": "bert"}, "tokenizer of a text encoder"),
        (
            {
                "tokenizer__ggml__model": "rwkv",
                "tokenizer__ggml__add_bos_token": True,
                "tokenizer__ggml__bos_token_id": None,
            },
            "adds a BOS token but does not say which",
        ),
        ({"llama__block_count": 600}, "impossible llama.block_count 600"),
    ],
)
def test_what_llama_cpp_would_abort_over(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        read_facts(write(tmp_path / "m.gguf", **changes))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (("x", (33, 2), gguf_files.Q8_0), "do not divide into blocks"),
        (("x", (32, 0), gguf_files.Q8_0), "impossible shape"),
        (("x", (2**40, 2**40), 0), "impossible shape"),
        (("x", (32,), 999), "unknown type 999"),
        (("x", (32,), 4), "unknown type 4"),
        (("x" * 64, (32,), 0), "a tensor name"),
        (("blk.0.attn_norm.weight", (32,), 0), "same name"),
        (("x", (1, 1, 1, 1, 1), 0), "5 dimensions"),
        (("x", (32, 32), 26), "stores the matrix 'x' as I32"),
        (("x", (32,), gguf_files.Q8_0), "stores the vector 'x' as Q8_0"),
    ],
)
def test_impossible_tensors(tmp_path: Path, tensor: tuple[str, tuple[int, ...], int], message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(header(METADATA, [*TENSORS, tensor]) + bytes(10_000))
    with pytest.raises(InvalidModel, match=message):
        read_facts(path)


def sparse(path: Path, kind: int, lengths: list[int]) -> Path:
    """A file of a few KB on disk with an array of texts, or one text, that is far longer and all there."""
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1))
        file.write(struct.pack("<Q", 3) + b"key" + struct.pack("<I", kind))
        if kind == 9:
            file.write(struct.pack("<IQ", 8, len(lengths)))
        for length in lengths:
            file.write(struct.pack("<Q", length))
            file.seek(length, 1)
        file.truncate(file.tell() + 64)
    return path


@pytest.mark.parametrize(
    ("kind", "lengths", "message"),
    [
        (9, [2_500_000_000], "claims to be 2,500,000,000 bytes"),
        (8, [2_500_000_000], "claims to be 2,500,000,000 bytes"),
        (9, [65_000] * 2_000, "more than"),
    ],
)
def test_texts_have_a_bound_each_and_in_total(tmp_path: Path, kind: int, lengths: list[int], message: str) -> None:
    path = sparse(tmp_path / "sparse.gguf", kind, lengths)
    tracemalloc.start()
    with pytest.raises(InvalidModel, match=message):
        read_facts(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_key_that_appears_twice(tmp_path: Path) -> None:
    raw = header(METADATA, []).replace(b"general.name", b"general.nam2")
    doubled = raw.replace(gguf_files.text("llama.context_length"), gguf_files.text("llama.block_count"))
    path = tmp_path / "m.gguf"
    path.write_bytes(doubled + bytes(64))
    with pytest.raises(InvalidModel, match="appears twice"):
        read_facts(path)


def test_special_tokens_outside_the_vocabulary_are_none(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "m.gguf", tokenizer__ggml__bos_token_id=2**32 - 1))
    assert facts.vocabulary.bos_id is None


# Fuzzing

_PRISTINE = header(METADATA, TENSORS) + bytes(gguf_files.data_bytes(TENSORS))
_HEADER = len(header(METADATA, TENSORS))
_NUMBERS = [0, 1, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def _mutation() -> st.SearchStrategy[tuple[int, bytes]]:
    at = st.integers(0, _HEADER - 1)
    raw = st.binary(min_size=1, max_size=12) | st.sampled_from([struct.pack("<Q", number) for number in _NUMBERS])
    return st.tuples(at, raw)


@settings(max_examples=400, deadline=None)
@given(mutations=st.lists(_mutation(), min_size=1, max_size=4), cut=st.integers(0, 64))
def test_mutated_headers_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, mutations: list[tuple[int, bytes]], cut: int
) -> None:
    raw = bytearray(_PRISTINE)
    for at, piece in mutations:
        raw[at : at + len(piece)] = piece
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(raw[: len(raw) - cut])
    try:
        facts = read_facts(path)
    except ModelError as refusal:  # A sentence, not a failure of something else.
        message = str(refusal)
        assert message
        assert "\n" not in message
        return
    assert facts.kv_bytes_per_token() >= 0
    assert len(facts.vocabulary.read_tokens()) == facts.vocabulary.size


def test_values_of_every_type_are_read(tmp_path: Path) -> None:
    extra = {"flag": True, "ratio": 0.5, "wide": (10, struct.pack("<Q", 2**60)), "many": list(range(5_000))}
    facts = read_facts(write(tmp_path / "m.gguf", **extra))
    assert facts.layers == 2
    assert value(True) == b"\x07\0\0\0\x01"
