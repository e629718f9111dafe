"""What a GGUF file says about its model: read in milliseconds, before llama.cpp sees the file."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exsa_lab.errors import InvalidModel
from exsa_lab.files import expand
from exsa_lab.models.auxiliary import check_is_model
from exsa_lab.models.gguf_checks import check_assertions, check_rotary
from exsa_lab.models.gguf_reader import TENSOR_TYPES, ArrayRegion, Header, Tensor, read_header, read_strings
from exsa_lab.models.recurrent import RecurrentFacts, attention_heads, recurrent_facts

COST_FACTOR_KEY = "exsa_lab.cost_factor"
"""Metadata of a cost-scaled file."""
_LAYER_OF = re.compile(r"blk\.(\d{1,5})\.")
MAX_LAYERS = 512
"""llama.cpp asserts as much."""
_MAX_WIDTH = 1 << 24
_MAX_PARTS = 999


@dataclass(frozen=True, slots=True)
class VocabularyFacts:
    """The tokenizer's kind, its special tokens, and where its token texts lie in the file."""

    path: Path
    kind: str
    """"gpt2" (BPE), "llama" (SentencePiece), "bert", "t5", ..."""
    pre: str
    """Name of the pre-tokenizer, "" where the file has none."""
    size: int
    bos_id: int | None
    eos_id: int | None
    eot_id: int | None
    add_bos: bool
    add_eos: bool
    region: ArrayRegion = field(repr=False)

    def read_tokens(self) -> list[bytes]:
        """Read all token texts, as stored (BPE texts in GPT-2's byte alphabet)."""
        return read_strings(self.path, self.region)

    def token_text(self, token: int | None) -> str:
        """Return one token's stored text, "" for None or an id outside the vocabulary."""
        if token is None or not 0 <= token < self.size:
            return ""
        return self.read_tokens()[token].decode("utf-8", "replace")


SINGLE_TEXT = frozenset({"deepseek32", "deepseek4", "glm-dsa", "minimax-m3"})
"""Architectures with sparse attention by an indexer; see docs/models.md."""


@dataclass(frozen=True, slots=True)
class GGUFFacts:
    """Facts of one model file. Sizes in bytes."""

    path: Path
    file_bytes: int
    version: int
    architecture: str
    name: str
    layers: int
    embedding: int
    heads: int
    kv_heads: tuple[int, ...]
    """Key/value heads of each layer (grouped-query attention has fewer than ``heads``; 0: no cache of its own)."""
    key_length: int
    value_length: int
    context_limit: int
    """Tokens of context the model was trained for."""
    feed_forward: int
    """Width inside the feed-forward of one token: that of all its active experts together."""
    experts: int
    vocabulary: VocabularyFacts
    chat_template: str | None
    tensor_types: MappingProxyType[str, int]
    """Bytes stored in each tensor type, largest first."""
    quantisation: str
    """The tensor type that holds most of the layers' weights, such as "Q4_1"."""
    layer_bytes: tuple[int, ...]
    other_bytes: int
    """Weights outside the layers: embedding, output and norms."""
    output_bytes: int
    """The output matrix; the embedding again where the two are tied."""
    has_own_output: bool
    """False where the output matrix is the embedding (tied)."""
    num_parameters: int
    split_count: int
    """Files the model is split into, 1 for a whole one."""
    cost_factor: int = 1
    """Times as much as a token costs, against the model it was made from (`exsa_lab.models.cost_scaling`)."""
    recurrent: RecurrentFacts | None = None
    """Its recurrent layers, None where it has none."""
    has_window: bool = False
    """Whether layers attend to a sliding window."""
    window_layers: tuple[bool, ...] = ()
    """Which layers have a window, where their heads have lengths of their own; else ()."""
    window_lengths: int = 0
    """Key and value length of those layers together."""

    @property
    def takes_one_text(self) -> bool:
        """Whether llama.cpp (0.3.36) computes a text otherwise, or ends the process, once another shares its cache."""
        return self.architecture in SINGLE_TEXT

    @property
    def weight_bytes(self) -> int:
        return sum(self.layer_bytes) + self.other_bytes

    @property
    def cost_note(self) -> str:
        """What belongs beside every number of a cost-scaled model; "" for others."""
        return cost_note(self.cost_factor)

    def kv_bytes_per_token(self, kv_type: str = "f16") -> float:
        """Bytes one KV cell takes over all layers.

        ``sum of kv_numbers * bytes per element``, where an element of f16 takes 2 bytes, of q8_0 34/32 and of q4_0
        18/32. Layers with a sliding window are counted in full, as llama.cpp allocates them in full by default.
        """
        kinds = {kind.name.lower(): kind for kind in TENSOR_TYPES.values()}
        kind = kinds[kv_type.lower()]
        return sum(self.kv_numbers) * kind.block_bytes / kind.block

    @property
    def kv_numbers(self) -> tuple[int, ...]:
        """Elements that one KV cell has in each layer."""
        length, window = self.key_length + self.value_length, self.window_layers or (False,) * len(self.kv_heads)
        lengths = (self.window_lengths if is_window else length for is_window in window)
        return tuple(heads * each for heads, each in zip(self.kv_heads, lengths, strict=True))


def cost_note(factor: int) -> str:
    """Return ``"cost x10, same text"``; "" for a factor of 1."""
    return f"cost x{factor}, same text" if factor > 1 else ""


def read_facts(path: Path | str) -> GGUFFacts:
    """Read and check a GGUF file's header.

    Every length is checked against the file's size and every tensor must lie inside the file, so a damaged or
    hostile header ends here and not in llama.cpp. Raises ModelNotFound or InvalidModel.

    Example: ``read_facts("model.gguf").layers``.
    """
    path = expand(path)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return _facts(path, read_header(path))  # Raises with the right sentence.
    return _read_facts(path, status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=32)
def _read_facts(path: Path, _size: int, _mtime_ns: int, _inode: int) -> GGUFFacts:
    return _facts(path, read_header(path))


def _facts(path: Path, header: Header) -> GGUFFacts:
    check_is_model(path, header)
    header, split_count = _whole(path, header)
    fields = _Fields(path, header)
    layers = fields.integer("block_count", 1, MAX_LAYERS)
    embedding = fields.integer("embedding_length", 1, _MAX_WIDTH)
    heads = max(fields.per_layer("attention.head_count", layers, default=1))
    kv_heads = fields.per_layer("attention.head_count_kv", layers, default=heads)
    recurrent = _recurrent(fields, embedding, kv_heads)
    head_length = embedding // max(heads, 1)
    layer_bytes = _layer_sizes(header, layers)
    sizes, inside = _type_sizes(header.tensors), _type_sizes(t for t in header.tensors if _LAYER_OF.match(t.name))
    by_name = {tensor.name: tensor.size_bytes for tensor in header.tensors}
    vocabulary = _vocabulary(fields)
    key_length = fields.integer("attention.key_length", 1, _MAX_WIDTH, default=max(head_length, 1))
    value_length = _value_length(fields, max(head_length, 1))
    check_assertions(path, header)
    check_rotary(
        path, fields.architecture, fields.integer("rope.dimension_count", 0, 1 << 20, default=key_length), key_length
    )
    return GGUFFacts(
        path=path,
        file_bytes=header.size_bytes,
        version=header.version,
        architecture=fields.architecture,
        name=fields.text("general.name") or path.stem,
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=_kv_heads(fields, attention_heads(kv_heads, fields.architecture, recurrent)),
        key_length=key_length,
        value_length=value_length,
        context_limit=fields.integer("context_length", 1, 1 << 31),
        feed_forward=_feed_forward(fields, layers),
        experts=fields.integer("expert_count", 0, 65_536, default=0),
        vocabulary=vocabulary,
        chat_template=fields.text("tokenizer.chat_template"),
        tensor_types=MappingProxyType(dict(sizes.most_common())),
        quantisation=(inside or sizes).most_common(1)[0][0] if sizes else "none",
        layer_bytes=layer_bytes,
        other_bytes=sum(sizes.values()) - sum(layer_bytes),
        output_bytes=by_name.get("output.weight", by_name.get("token_embd.weight", 0)),
        has_own_output="output.weight" in by_name,
        num_parameters=sum(_elements(tensor.shape) for tensor in header.tensors),
        split_count=split_count,
        cost_factor=fields.integer_of(COST_FACTOR_KEY, 1, MAX_LAYERS, default=1),
        recurrent=recurrent,
        has_window=fields.number("attention.sliding_window") > 0,
        window_layers=_window_layers(fields, layers),
        window_lengths=_window_lengths(fields, key_length, value_length),
    )


def _whole(path: Path, header: Header) -> tuple[Header, int]:
    """Return the header with the tensors of all parts of a split model, and how many parts it has."""
    number, count = (header.metadata.get(f"split.{key}") for key in ("no", "count"))
    if type(number) is int and type(count) is int and number > 0:
        raise _other_part(path, count)  # it has tensors only, so that much else would be missed first
    split_count = _Fields(path, header).integer_of("split.count", 1, _MAX_PARTS, default=1)
    return header if split_count == 1 else _joined(path, header, split_count), split_count


def _other_part(path: Path, split_count: int) -> InvalidModel:
    hint = f"Give the first part, which ends in -00001-of-{split_count:05}.gguf."
    return InvalidModel(f"{path.name} is one of {split_count} parts.", hint=hint)


def _joined(path: Path, header: Header, split_count: int) -> Header:
    """Add the tensors of the other parts of a split model, which llama.cpp finds by their names."""
    first = path.name
    ending = f"-00001-of-{split_count:05}.gguf"
    if not first.endswith(ending):
        raise _other_part(path, split_count)
    tensors, size = header.tensors, header.size_bytes
    for part in range(2, split_count + 1):
        other = read_header(path.with_name(f"{first.removesuffix(ending)}-{part:05}-of-{split_count:05}.gguf"))
        tensors, size = tensors + other.tensors, size + other.size_bytes
    return replace(header, tensors=tensors, size_bytes=size)


def _recurrent(fields: _Fields, embedding: int, kv_heads: tuple[int, ...]) -> RecurrentFacts | None:
    widths = fields.per_layer("feed_forward_length", len(kv_heads), default=0)
    marked = fields.flags("attention.recurrent_layers", len(kv_heads))
    return recurrent_facts(fields.architecture, fields.number, embedding, kv_heads, widths, marked)


def _value_length(fields: _Fields, default: int) -> int:
    """Length of a head's values in the cache; latent attention keeps one vector, of which it computes both."""
    if fields.number("attention.key_length_mla"):
        return 0
    return fields.integer("attention.value_length", 1, _MAX_WIDTH, default=default)


def _kv_heads(fields: _Fields, heads: tuple[int, ...]) -> tuple[int, ...]:
    """Heads of the layers that have a cache.

    The last layers may share another's cache, or predict further tokens and have none.
    """
    without = fields.number("attention.shared_kv_layers") + fields.number("nextn_predict_layers")
    num = max(0, len(heads) - without)
    return heads[:num] + (0,) * (len(heads) - num)


def _window_layers(fields: _Fields, layers: int) -> tuple[bool, ...]:
    """Which layers have a sliding window, where these have lengths of their own; () where they have not."""
    if not fields.number("attention.key_length_swa") and not fields.number("attention.value_length_swa"):
        return ()
    return fields.flags("attention.sliding_window_pattern", layers)


def _window_lengths(fields: _Fields, key_length: int, value_length: int) -> int:
    """Key and value length of layers with a sliding window: those of all layers where they have none of their own."""
    key = fields.integer("attention.key_length_swa", 1, _MAX_WIDTH, default=key_length)
    value = fields.integer("attention.value_length_swa", 1, _MAX_WIDTH, default=max(1, value_length))
    return key + value if value_length else key  # latent attention computes its values of its keys


def _feed_forward(fields: _Fields, layers: int) -> int:
    dense = max(fields.per_layer("feed_forward_length", layers, default=0))
    expert = fields.integer("expert_feed_forward_length", 0, _MAX_WIDTH, default=dense)
    return max(dense, expert * max(fields.per_layer("expert_used_count", layers, default=0)))


def _layer_sizes(header: Header, layers: int) -> tuple[int, ...]:
    sizes = [0] * layers
    for tensor in header.tensors:
        match = _LAYER_OF.match(tensor.name)
        if match and int(match[1]) < layers:
            sizes[int(match[1])] += tensor.size_bytes
    return tuple(sizes)


def _type_sizes(tensors: Iterable[Tensor]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type] += tensor.size_bytes
    return sizes


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def _vocabulary(fields: _Fields) -> VocabularyFacts:
    region = fields.header.arrays.get("tokenizer.ggml.tokens")
    if region is None or region.item_type != 8 or region.count == 0:
        raise fields.invalid("has no vocabulary", "It may be an adapter or a projector rather than a language model.")
    kind = fields.text("tokenizer.ggml.model") or "none"
    pre = fields.text("tokenizer.ggml.pre") or ""

    def flag(name: str, default: bool) -> bool:
        value = fields.header.metadata.get(f"tokenizer.ggml.{name}", default)
        return value if isinstance(value, bool) else default

    def special(name: str) -> int | None:
        token = fields.plain_integer(f"tokenizer.ggml.{name}_token_id")
        return token if token is not None and 0 <= token < region.count else None

    return VocabularyFacts(
        path=fields.path,
        kind=kind,
        pre=pre,
        size=region.count,
        bos_id=special("bos"),
        eos_id=special("eos"),
        eot_id=special("eot"),
        # llama.cpp's defaults where the file does not say.
        add_bos=flag("add_bos_token", kind in ("llama", "bert") or pre in ("llama3", "llama-v3", "llama-bpe")),
        add_eos=flag("add_eos_token", kind in ("t5", "bert")),
        region=region,
    )


class _Fields:
    """Typed access to the metadata; a wrong type or an absurd value is an InvalidModel."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        architecture = self.text("general.architecture")
        if not architecture:
            raise self.invalid("does not name its architecture", "It may not be a language model.")
        self.architecture: str = architecture

    def invalid(self, what: str, hint: str = "The file may be damaged.") -> InvalidModel:
        return InvalidModel(f"{self.path.name} {what}.", hint=hint)

    def text(self, key: str) -> str | None:
        value = self.header.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise self.invalid(f"has {key} that is not a text")
        return value

    def plain_integer(self, key: str) -> int | None:
        value = self.header.metadata.get(key)
        return value if type(value) is int else None

    def integer(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        """One of the architecture's own numbers, between ``low`` and ``high``."""
        return self.integer_of(f"{self.architecture}.{key}", low, high, default=default)

    def integer_of(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        value: Any = self.header.metadata.get(key, default)
        if value is None:
            raise self.invalid(f"has no {key}", "It may not be a language model.")
        if type(value) is not int or not low <= value <= high:
            raise self.invalid(f"has the impossible {key} {str(value)[:40]}")
        return value

    def number(self, key: str) -> int:
        """One of the architecture's own numbers, 0 where the file has none; its largest where it has one per layer."""
        value = self.header.metadata.get(f"{self.architecture}.{key}", 0)
        value = max(value, default=0) if isinstance(value, tuple) else value
        return value if type(value) is int and 0 <= value <= _MAX_WIDTH else 0

    def flags(self, key: str, layers: int) -> tuple[bool, ...]:
        """What the architecture says of each layer, () where it does not."""
        value = self.header.metadata.get(f"{self.architecture}.{key}")
        return tuple(map(bool, value)) if isinstance(value, tuple) and len(value) == layers else ()

    def per_layer(self, key: str, layers: int, *, default: int) -> tuple[int, ...]:
        """A number that may be given once or for each layer."""
        value = self.header.metadata.get(f"{self.architecture}.{key}")
        if not isinstance(value, tuple):
            return (self.integer(key, 0, _MAX_WIDTH, default=default),) * layers
        if len(value) != layers or not all(type(item) is int and 0 <= item <= _MAX_WIDTH for item in value):
            raise self.invalid(f"has the impossible {self.architecture}.{key} {str(value)[:40]}")
        return value
