"""A model with the same output at a multiple of the cost: what speculation does for a big target, without having one.

A transformer block adds what its attention and its feed-forward compute to the residual stream. Where the last matrix
of both is zero, it adds nothing and still costs what a block costs. So the blocks are repeated with `attn_output` and
`ffn_down` set to zero. The copies come after the originals: every original keeps its index, on which the kind of its
attention can depend.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from exsa_lab import files
from exsa_lab.checks import whole
from exsa_lab.errors import ConfigError, ModelError
from exsa_lab.models.conversion import check_disk, converted_path, is_whole, put_in_place
from exsa_lab.models.gguf_facts import COST_FACTOR_KEY, MAX_LAYERS, GGUFFacts, cost_note, read_facts
from exsa_lab.models.gguf_reader import Header, Tensor, open_regular, read_header, read_region
from exsa_lab.models.gguf_writer import Piece, encode_array, encode_text, encode_u32, write_model
from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.protocol import NAME_KEY

MAX_TIMES = 64

ZERO_BYTES_ARE_ZERO = re.compile(
    r"F32|B?F16|Q[45]_[01]|Q8_0|Q[2-6]_K|IQ(1_S|1_M|2_XXS|2_XS|2_S|3_XXS|3_S|4_NL|4_XS)|TQ[12]_0|Q[12]_0|MXFP4|NVFP4"
)
"""Tensor types in which a block of zero bytes is a block of zeros: its scale is 0 (checked with ggml's own code)."""

_BLOCK = re.compile(r"blk\.(\d{1,5})\.(.+)")
_LAST = ("attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp")
"""What a block adds to the residual stream is the output of these; a router in front of experts changes nothing."""
_INSIDE = re.compile(
    r"attn_(norm|norm_2|q|k|v|qkv|q_norm|k_norm|sinks|sub_norm)|exp_probs_b"
    r"|ffn_(norm|sub_norm|gate|up|gate_inp|gate_inp_shexp|gate_exps|up_exps|gate_up_exps|gate_shexp|up_shexp)"
)
"""Tensors in front of those, which may have any value."""
_AFTER = frozenset(("post_attention_norm", "post_ffw_norm"))
"""Norms behind them: they keep a zero, unless they have a bias."""

_REFUSED_ARCHITECTURES = {
    "baichuan": "the number of its blocks decides how it tells positions apart",
    "minicpm": "the number of its blocks scales what each of them adds",
    "minicpm3": "the number of its blocks scales what each of them adds",
}
_DECIDING_SIZES = {"gemma2": 46, "gemma3": 62, "exaone4": 64}
"""Architectures whose attention llama.cpp computes in another way at this number of blocks."""
_DECIDING_FROM = {"command-r": 64}
"""Architectures from which llama.cpp expects other tensors from this number of blocks on."""
_REFUSED_NUMBERS = {
    "leading_dense_block_count": "its first blocks are of another kind than the others",
    "nextn_predict_layers": "its last blocks predict further tokens",
    "attention.shared_kv_layers": "its last blocks share the cache of earlier ones",
    "attention.relative_buckets_count": "it is an encoder and decoder",
}
_STEPS = ("interleave_moe_layer_step", "full_attention_interval")
"""Every how many blocks one is of another kind: the copies must fall into step."""
_NOT_PER_LAYER = ("rope.dimension_sections",)


def scale_cost(
    model: str | Path,
    times: int,
    *,
    folder: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Return a GGUF that writes the same text as ``model`` and costs ``times`` as much, making it once.

    ``times`` is a whole number from 1, which returns the model itself, to 64; llama.cpp takes at most 512 blocks. The
    embedding and the output layer stay as they are: only the blocks cost more. The file goes to ``folder`` (default:
    exsa_lab's cache) and appears there only when it is whole. ``progress`` is called with the fraction written, 0..1.

    Raises ModelNotFound, InvalidModel, ConfigError for an impossible ``times``, ModelError when the model's blocks
    cannot be repeated without an effect, or the disk is too small.

    Example: ``xl.load(scale_cost("smollm2-135m", 10), draft="smollm2-135m-draft")``, or short
    ``xl.load("smollm2-135m", cost_factor=10)``, which finds the draft by itself.
    """
    times = whole("the cost factor", times, 1, MAX_TIMES)
    source = resolve(model).path
    if times == 1:
        return source
    wanted = converted_path(source, f"cost-x{times}", folder)
    with files.locked(wanted):
        if not is_whole(wanted):
            files.remove_stale_parts(wanted.parent)
            _make(source, wanted, times, progress or (lambda _: None))
    return wanted


def _make(source: Path, wanted: Path, times: int, progress: Callable[[float], None]) -> None:
    facts, header = read_facts(source), read_header(source)
    check_repeatable(facts, header, times)
    check_disk(wanted.parent, facts.file_bytes + (times - 1) * sum(facts.layer_bytes))
    part = wanted.with_name(f"{wanted.stem}.{os.getpid()}.part")
    try:
        with open_regular(source) as read, part.open("wb") as out:
            metadata = dict(_metadata(source, facts, header, times))
            pieces = list(_pieces(header, facts.layers, times))
            alignment = header.metadata.get("general.alignment", 32)
            assert isinstance(alignment, int)
            write_model(out, metadata, pieces, read, alignment=alignment, progress=progress)
        put_in_place(part, wanted)
    finally:
        part.unlink(missing_ok=True)


# Whether it can be done


def check_repeatable(facts: GGUFFacts, header: Header, times: int) -> None:
    """Raise ModelError, or ConfigError for ``times``, where copies of the blocks would not be without an effect."""
    name, layers = facts.path.name, facts.layers
    if facts.cost_factor > 1:
        raise ConfigError(f"{name} is scaled already ({facts.cost_note}).", hint="Scale the model it was made from.")
    if facts.split_count > 1:
        raise ModelError(f"{name} is one of {facts.split_count} files.", hint="Merge them with llama-gguf-split first.")
    if reason := _reason_against(facts, header) or _reason_against_number(facts.architecture, layers, times):
        raise ModelError(
            f"the cost of {name} ({facts.architecture}) cannot be scaled: {reason}.",
            hint="It works for transformers whose blocks end in attn_output and ffn_down.",
        )
    if layers * times > MAX_LAYERS:
        raise ConfigError(
            f"{layers} blocks times {times} are {layers * times:,} and llama.cpp takes at most {MAX_LAYERS}.",
            hint=f"Use at most {MAX_LAYERS // layers} for this model.",
        )


def _reason_against(facts: GGUFFacts, header: Header) -> str:
    architecture, layers = facts.architecture, facts.layers
    if architecture in _REFUSED_ARCHITECTURES:
        return _REFUSED_ARCHITECTURES[architecture]
    for key, reason in _REFUSED_NUMBERS.items():
        if header.metadata.get(f"{architecture}.{key}", 0):
            return reason
    for key in _STEPS:
        step = header.metadata.get(f"{architecture}.{key}", 1)
        if isinstance(step, int) and step > 1 and layers % step:
            return f"every {step}th of its blocks is of another kind, and {layers} are no multiple of that"
    found: dict[int, set[str]] = {layer: set() for layer in range(layers)}
    for tensor in header.tensors:
        if match := _BLOCK.fullmatch(tensor.name):
            found.setdefault(int(match[1]), set()).add(match[2])
            if reason := _reason_against_tensor(match[2], tensor):
                return reason
    if len(found) > layers:
        return f"it has tensors of a block {max(found)}, beyond its {layers} blocks"
    for layer, names in found.items():
        if "attn_output.weight" not in names:
            return f"block {layer} has no attn_output"
        if not names & {"ffn_down.weight", "ffn_down_exps.weight"}:
            return f"block {layer} has no ffn_down"
    return ""


def _reason_against_number(architecture: str, layers: int, times: int) -> str:
    deciding = _DECIDING_SIZES.get(architecture)
    if deciding in (layers, layers * times):
        return f"with {deciding} blocks its attention is of another kind"
    limit = _DECIDING_FROM.get(architecture, layers)
    return f"from {limit} blocks on it needs other tensors" if layers < limit <= layers * times else ""


def _reason_against_tensor(name: str, tensor: Tensor) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _LAST and kind in ("weight", "bias"):
        is_known = ZERO_BYTES_ARE_ZERO.fullmatch(tensor.type)
        return "" if is_known else f"{tensor.name} is stored as {tensor.type}, in which zero bytes may not be zeros"
    if stem in _AFTER and kind == "weight":
        return ""
    # Scales of single tensors, and the router's correction, which some files name without an ending.
    if _INSIDE.fullmatch(stem or name) or kind in ("scale", "input_scale"):
        return ""
    return f"{tensor.name} may change the residual stream"


# What is written


def _metadata(source: Path, facts: GGUFFacts, header: Header, times: int) -> Iterator[tuple[str, bytes]]:
    own = f"{facts.architecture}."
    note = cost_note(times)
    changed: Mapping[str, bytes] = {
        f"{own}block_count": encode_u32(facts.layers * times),
        "general.name": encode_text(f"{facts.name} ({note})"),
    }
    with open_regular(source) as file:
        for key, (start, end) in header.spans.items():
            region = header.arrays.get(key)
            if key in changed:
                yield key, changed[key]
            elif region is not None and _is_per_layer(key.removeprefix(own), key, own, region.count == facts.layers):
                raw = read_region(source, region) * times
                yield key, encode_array(region.item_type, region.count * times, raw)
            else:
                file.seek(start)
                yield key, file.read(end - start)
    if "general.name" not in header.spans:
        yield "general.name", changed["general.name"]
    yield COST_FACTOR_KEY, encode_u32(times)
    yield NAME_KEY, encode_text(f"{source.stem} ({note})")


def _is_per_layer(short: str, key: str, own: str, has_length: bool) -> bool:
    """Whether an array has one item for each block: heads, feed-forward widths, patterns of sliding windows."""
    return has_length and key.startswith(own) and short not in _NOT_PER_LAYER


def _pieces(header: Header, layers: int, times: int) -> Iterator[Piece]:
    """The tensors as they are, and after them the copies of those in blocks."""
    for tensor in header.tensors:
        yield Piece(tensor, tensor.offset)
    for copy in range(1, times):
        for tensor in header.tensors:
            if match := _BLOCK.fullmatch(tensor.name):
                name = f"blk.{copy * layers + int(match[1])}.{match[2]}"
                is_zero = match[2].partition(".")[0] in _LAST
                yield Piece(replace(tensor, name=name), None if is_zero else tensor.offset)
