"""A strict reader of GGUF headers: nothing in the file is believed before it is checked against the file's size.

llama.cpp parses the same header in C, inside the kernel's process, so a damaged file is caught here first.
The `gguf` package reads headers too, but it turns every vocabulary entry into numpy arrays (2.0 s for the
49,152 tokens of SmolLM2, against about 20 ms here, plus 0.2 s to import it) and trusts the lengths it reads.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.errors import InvalidModel, ModelNotFound

Value = bool | int | float | str | tuple[Any, ...]

_MAX_KEYS = 65_536
_MAX_KEY_BYTES = 65_535
_MAX_TENSORS = 200_000
_MAX_ITEMS = 4_000_000
"""Longest array. The largest vocabularies in use have about 262,000 tokens and 515,000 merges."""
_MAX_STRING = 1 << 22
_MAX_ITEM_STRING = 1 << 16
"""Longest token or merge. The longest in use have some hundred bytes."""
_MAX_HEADER = 1 << 26
"""All of the header, before the weights. The largest vocabularies take about 15 MB."""
_MAX_DECODED_ITEMS = 4_096
"""Numeric arrays up to this length become tuples; longer ones (scores, token types) stay in the file."""
_MAX_ELEMENTS = 1 << 62
_DEFAULT_ALIGNMENT = 32
_MAX_TENSOR_NAME = 63

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: _U32,
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: _U64,
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """How a tensor is stored: ``block_bytes`` bytes for every ``block`` weights."""

    name: str
    block: int
    block_bytes: int


# The table of ggml's types (ggml_type_size, ggml_blck_size); a test compares it with the gguf package.
TENSOR_TYPES: dict[int, TensorType] = {
    number: TensorType(name, block, size)
    for number, name, block, size in [
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (9, "Q8_1", 32, 36),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
        (42, "Q2_0", 64, 18),
    ]
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor table. ``offset`` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ArrayRegion:
    """An array left in the file: its items lie in bytes [start, end)."""

    item_type: int
    count: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """Everything before the weights."""

    version: int
    metadata: dict[str, Value]
    arrays: dict[str, ArrayRegion]
    tensors: tuple[Tensor, ...]
    size_bytes: int
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where each metadata value lies in the file, its type included: bytes [start, end)."""


def read_header(path: Path) -> Header:
    """Read and check the header of a GGUF file.

    Raises ModelNotFound when there is no such file, InvalidModel when it is anything but a whole, little-endian
    GGUF of version 2 or 3.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < 24:
                _check_magic(path, file.read(4))
                raise InvalidModel(f"{path.name} has only {size} bytes, too few for a GGUF.", hint=_REFETCH)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _HeaderReader(path, buffer, size).read()
    except OSError as cause:
        if isinstance(cause, ModelNotFound):
            raise
        raise InvalidModel(
            f"{path} cannot be read: {cause.strerror or cause}.", hint="Check its permissions."
        ) from cause


def read_strings(path: Path, region: ArrayRegion) -> list[bytes]:
    """Read the items of an array of strings that `read_header` found."""
    raw = read_region(path, region)
    strings, position = [], 0
    for _ in range(region.count):
        start = position + 8
        position = start + _U64.unpack_from(raw, position)[0]
        strings.append(raw[start:position])
    return strings


def read_region(path: Path, region: ArrayRegion) -> bytes:
    """Return an array's bytes; raises InvalidModel when the file has shrunk since."""
    with open_regular(path) as file:
        file.seek(region.start)
        raw: bytes = file.read(region.end - region.start)
    if len(raw) != region.end - region.start:
        raise InvalidModel(f"{path.name} changed while it was read.", hint="Try again once it is written.")
    return raw


def open_regular(path: Path) -> Any:
    """Open a regular file for reading; a missing path or a directory is one clear error."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as cause:
        raise ModelNotFound(f"there is no file {path}.", hint="Check the path.") from cause
    if stat.S_ISDIR(mode):
        near = sorted(entry.name for entry in path.glob("*.gguf"))[:3]
        hint = f"Name a file in it, such as {near[0]}." if near else "Name a .gguf file."
        raise InvalidModel(f"{path} is a directory.", hint=hint)
    if not stat.S_ISREG(mode):
        raise InvalidModel(f"{path} is not a regular file.", hint="Name a .gguf file.")
    return path.open("rb")


_REFETCH = "Download or copy it again."


def _check_magic(path: Path, magic: bytes) -> None:
    if magic == b"GGUF":
        return
    if magic == b"FUGG":
        raise InvalidModel(f"{path.name} is a big-endian GGUF.", hint="Convert it to little-endian first.")
    if magic in (b"ggml", b"ggjt", b"ggmf", b"lmgg", b"tjgg", b"fmgg"):
        raise InvalidModel(f"{path.name} is in a GGML format older than GGUF.", hint="Get a .gguf of this model.")
    hint = (
        "It is a Git LFS pointer: fetch the file itself." if magic == b"vers" else "exsa_lab runs GGUF models (.gguf)."
    )
    raise InvalidModel(f"{path.name} is not a GGUF file.", hint=hint)


class _HeaderReader:
    """One pass over the header; ``position`` never passes ``size``."""

    def __init__(self, path: Path, buffer: mmap.mmap, size: int) -> None:
        self.path, self.buffer, self.size = path, buffer, size
        self.position = 0
        self.metadata: dict[str, Value] = {}
        self.arrays: dict[str, ArrayRegion] = {}
        self.spans: dict[str, tuple[int, int]] = {}

    def read(self) -> Header:
        _check_magic(self.path, self.buffer[:4])
        self.position = 4
        version = self._version()
        num_tensors = self._count("tensors", 24, _MAX_TENSORS)
        num_keys = self._count("metadata entries", 13, _MAX_KEYS)
        for _ in range(num_keys):
            self._read_entry()
        tensors = self._read_tensors(num_tensors)
        return Header(version, self.metadata, self.arrays, tensors, self.size, self.spans)

    def _version(self) -> int:
        version: int = self._scalar(_U32)
        if version in (2, 3):
            return version
        # A file written on a big-endian machine keeps the letters of the magic but swaps everything else.
        if version & 0xFFFF == 0 and version:
            raise InvalidModel(f"{self.path.name} is a big-endian GGUF.", hint="Convert it to little-endian first.")
        raise InvalidModel(
            f"{self.path.name} is GGUF version {version}; versions 2 and 3 are supported.",
            hint="Get a newer conversion.",
        )

    # Primitives

    def _corrupt(self, what: str) -> InvalidModel:
        return InvalidModel(f"the header of {self.path.name} is corrupt or cut off: {what}.", hint=_REFETCH)

    def _take(self, length: int, what: str) -> int:
        """Advance over ``length`` bytes and return where they start."""
        start = self.position
        if length > self.size - start:
            left = self.size - start
            raise self._corrupt(f"{what} at byte {start:,} wants {length:,} bytes and {left:,} are left")
        self.position = start + length
        if self.position > _MAX_HEADER:
            raise self._corrupt(f"it has more than {_MAX_HEADER:,} bytes")
        return start

    def _scalar(self, kind: struct.Struct) -> Any:
        return kind.unpack_from(self.buffer, self._take(kind.size, "a value"))[0]

    def _count(self, what: str, least_bytes: int, limit: int) -> int:
        """Read a number of entries, each of at least ``least_bytes`` bytes."""
        count: int = self._scalar(_U64)
        if count > limit or count * least_bytes > self.size - self.position:
            raise self._corrupt(f"it claims {count:,} {what}")
        return count

    def _string(self, what: str, limit: int = _MAX_STRING) -> str:
        length: int = self._scalar(_U64)
        if length > limit:
            raise self._corrupt(f"{what} claims to be {length:,} bytes long")
        start = self._take(length, what)
        return self.buffer[start : start + length].decode("utf-8", "replace")

    # Metadata

    def _read_entry(self) -> None:
        key = self._string("a key", _MAX_KEY_BYTES)
        if key in self.metadata or key in self.arrays:
            raise self._corrupt(f"the key {key[:80]!r} appears twice")
        start = self.position
        kind: int = self._scalar(_U32)
        if kind == _STRING:
            self.metadata[key] = self._string(f"the value of {key[:80]!r}")
        elif kind == _ARRAY:
            self._read_array(key)
        elif kind in _SCALARS:
            self.metadata[key] = self._scalar(_SCALARS[kind])
        else:
            raise self._corrupt(f"{key[:80]!r} has the unknown value type {kind}")
        self.spans[key] = (start, self.position)

    def _read_array(self, key: str) -> None:
        kind: int = self._scalar(_U32)
        if kind != _STRING and kind not in _SCALARS:
            raise self._corrupt(f"the array {key[:80]!r} has the unsupported item type {kind}")
        item_bytes = 8 if kind == _STRING else _SCALARS[kind].size
        count = self._count(f"items in {key[:80]!r}", item_bytes, _MAX_ITEMS)
        start = self.position
        if kind == _STRING:
            self._skip_strings(key, count)
        else:
            self._take(count * item_bytes, f"the array {key[:80]!r}")
            if count <= _MAX_DECODED_ITEMS:
                code = f"<{count}{_SCALARS[kind].format[1:]}"
                self.metadata[key] = struct.unpack_from(code, self.buffer, start)
        self.arrays[key] = ArrayRegion(kind, count, start, self.position)

    def _skip_strings(self, key: str, count: int) -> None:
        # The one loop over the vocabulary: lengths are only added up, and reading past the end raises.
        position, unpack, buffer = self.position, _U64.unpack_from, self.buffer
        try:
            for _ in range(count):
                length = unpack(buffer, position)[0]
                if length > _MAX_ITEM_STRING:
                    raise self._corrupt(f"an item of {key[:80]!r} claims to be {length:,} bytes long")
                position += 8 + length
        except (struct.error, OverflowError) as cause:
            raise self._corrupt(f"the array {key[:80]!r} runs past the end of the file") from cause
        self._take(position - self.position, f"the array {key[:80]!r}")

    # Tensors

    def _read_tensors(self, count: int) -> tuple[Tensor, ...]:
        entries = [self._read_tensor() for _ in range(count)]
        if len({entry.name for entry in entries}) != count:
            raise self._corrupt("two tensors have the same name")
        alignment = self._alignment()
        data_start = -(-self.position // alignment) * alignment
        tensors = []
        for entry in entries:
            if entry.offset % alignment:
                raise self._corrupt(f"the tensor {entry.name!r} is not aligned to {alignment} bytes")
            tensors.append(Tensor(entry.name, entry.shape, entry.type, data_start + entry.offset, entry.size_bytes))
        self._check_extents(tensors)
        return tuple(tensors)

    def _read_tensor(self) -> Tensor:
        name = self._string("a tensor name", _MAX_TENSOR_NAME)
        num_dimensions: int = self._scalar(_U32)
        if not 1 <= num_dimensions <= 4:
            raise self._corrupt(f"the tensor {name!r} has {num_dimensions} dimensions")
        shape = tuple(self._scalar(_U64) for _ in range(num_dimensions))
        kind = TENSOR_TYPES.get(number := self._scalar(_U32))
        offset: int = self._scalar(_U64)
        if kind is None:
            raise InvalidModel(
                f"the tensor {name!r} of {self.path.name} has the unknown type {number}.",
                hint="The file is damaged, or its format is newer than this exsa_lab.",
            )
        return Tensor(name, shape, kind.name, offset, self._tensor_bytes(name, shape, kind))

    def _tensor_bytes(self, name: str, shape: tuple[int, ...], kind: TensorType) -> int:
        elements = 1
        for length in shape:
            elements *= length
            if elements > _MAX_ELEMENTS or length == 0:
                raise self._corrupt(f"the tensor {name!r} has the impossible shape {shape}")
        if shape[0] % kind.block:
            raise self._corrupt(
                f"rows of {shape[0]:,} in the tensor {name!r} do not divide into blocks of {kind.block}"
            )
        return elements // kind.block * kind.block_bytes

    def _alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._corrupt(f"general.alignment is {alignment!r}")
        return alignment

    def _check_extents(self, tensors: list[Tensor]) -> None:
        end = max((tensor.offset + tensor.size_bytes for tensor in tensors), default=0)
        if end > self.size:
            raise InvalidModel(
                f"{self.path.name} is truncated: {end - self.size:,} of its {end:,} bytes are missing.", hint=_REFETCH
            )
