"""Writing a GGUF file piece by piece, so that a model of any size passes through little memory.

Metadata goes in as encoded values: those of a file that was read are copied byte for byte, which keeps every type.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from exsa_lab.errors import InvalidModel
from exsa_lab.models.gguf_reader import TENSOR_TYPES, Tensor

VERSION = 3
_CHUNK = 1 << 22
_U32, _STRING, _ARRAY = 4, 8, 9
_TYPE_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of the new file, and where in the source its bytes lie."""

    tensor: Tensor
    """Its ``offset`` is that in the source and does not count here."""
    source_offset: int | None
    """None writes zeros."""


def encode_u32(value: int) -> bytes:
    """Encode a metadata value with its type."""
    return struct.pack("<II", _U32, value)


def encode_text(value: str) -> bytes:
    """Encode a metadata value with its type."""
    return struct.pack("<I", _STRING) + _text(value)


def encode_array(item_type: int, count: int, raw: bytes) -> bytes:
    """Encode an array of ``count`` items whose bytes are ``raw``."""
    return struct.pack("<IIQ", _ARRAY, item_type, count) + raw


def encode_header(metadata: Mapping[str, bytes], tensors: Sequence[Tensor], alignment: int) -> bytes:
    """Return everything before the weights, filled up to the alignment; tensors follow each other in this order."""
    parts = [struct.pack("<4sIQQ", b"GGUF", VERSION, len(tensors), len(metadata))]
    parts += [_text(key) + value for key, value in metadata.items()]
    offset = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        parts.append(_text(tensor.name) + shape + struct.pack("<IQ", _TYPE_NUMBERS[tensor.type], offset))
        offset += _filled(tensor.size_bytes, alignment)
    raw = b"".join(parts)
    return raw + bytes(_filled(len(raw), alignment) - len(raw))


def write_model(
    out: BinaryIO,
    metadata: Mapping[str, bytes],
    pieces: Sequence[Piece],
    source: BinaryIO,
    *,
    alignment: int,
    progress: Callable[[float], None],
) -> None:
    """Write a whole model; weights are copied from ``source`` in chunks, zeros are left as holes where a disk can.

    ``progress`` is called with the fraction written, 0..1. Raises InvalidModel when the source ends too early.
    """
    out.write(encode_header(metadata, [piece.tensor for piece in pieces], alignment))
    total = sum(piece.tensor.size_bytes for piece in pieces) or 1
    done = 0
    for piece in pieces:
        size = piece.tensor.size_bytes
        if piece.source_offset is None:
            out.seek(size, os.SEEK_CUR)
        else:
            for chunk in _chunks(source, piece.source_offset, size):
                out.write(chunk)
        out.seek(_filled(size, alignment) - size, os.SEEK_CUR)
        done += size
        progress(done / total)
    out.truncate(out.tell())  # A hole at the end is not there yet.


def _chunks(source: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    source.seek(offset)
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise InvalidModel("the model's file changed while it was read.", hint="Try again once it is written.")
        size -= len(chunk)
        yield chunk


def _filled(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw
