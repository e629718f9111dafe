"""Write a draft as a GGUF with its target's tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exsa_lab.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exsa_lab.distill.llama import Shape

FORMATS = ("f16", "q8_0", "q5_0", "q4_0", "iq4_nl")
"""Weight formats a draft can be written in; in "iq4_nl" only the output layer is, and the others are Q8_0."""


def write_gguf(
    path: Path,
    name: str,
    shape: Shape,
    weights: dict[str, NDArray[np.float32]],
    target: Path,
    to: str = "q8_0",
    packed: NDArray[np.uint8] | None = None,
) -> None:
    """Write weights under llama.cpp's names; the file appears only when it is whole.

    Everything under ``tokenizer.`` is copied from the target, the chat template included. ``packed`` is the embedding
    as `exsa_lab.distill.iq4_nl` rounded it, for the format of that name. Raises ConfigError for an unknown format.
    """
    import gguf
    from gguf.quants import quantize

    if to not in FORMATS:
        raise ConfigError(f"unknown weight format {to!r}.", hint=f"Known: {', '.join(FORMATS)}.")
    kind = gguf.GGMLQuantizationType["Q8_0" if to == "iq4_nl" else to.upper()]
    source = gguf.GGUFReader(target)
    unfinished = path.with_suffix(".tmp")
    writer = gguf.GGUFWriter(unfinished, "llama")
    context = source.fields.get("llama.context_length")
    _describe(writer, name, shape, int(context.contents()) if context else 2048)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{to.upper()}"])
    for key, field in source.fields.items():
        if key.startswith("tokenizer."):
            _copy(writer, key, field)
    for key, array in weights.items():
        if key == "token_embd.weight" and packed is not None:
            writer.add_tensor(key, packed, raw_dtype=gguf.GGMLQuantizationType.IQ4_NL)
        elif array.ndim == 1:
            writer.add_tensor(key, array.astype(np.float32))
        else:
            writer.add_tensor(key, quantize(array.astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(unfinished, path)


def _describe(writer: Any, name: str, shape: Shape, context: int) -> None:
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_vocab_size(shape.vocabulary)


def _copy(writer: Any, key: str, field: Any) -> None:
    kinds = list(field.types)
    writer.add_key_value(key, field.contents(), kinds[0], kinds[1] if len(kinds) > 1 else None)
