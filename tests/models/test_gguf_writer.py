"""What is written is what is read."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.errors import InvalidModel
from exsa_lab.models.gguf_reader import TENSOR_TYPES, Tensor, read_header, read_region, read_strings
from exsa_lab.models.gguf_writer import Piece, encode_array, encode_header, encode_text, encode_u32, write_model
from tests.models.gguf_files import text

KINDS = {kind.name: kind for kind in TENSOR_TYPES.values()}
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.one_of(st.integers(0, 2**32 - 1), NAMES, st.lists(st.integers(0, 2**32 - 1)), st.lists(NAMES))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    shape = (kind.block * draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 4), max_size=2)))
    elements = shape[0]
    for length in shape[1:]:
        elements *= length
    name = draw(st.text("abc._", min_size=1, max_size=30))
    return Tensor(name, shape, kind.name, 0, elements // kind.block * kind.block_bytes)


def encoded(value: object) -> bytes:
    if isinstance(value, int):
        return encode_u32(value)
    if isinstance(value, str):
        return encode_text(value)
    assert isinstance(value, list)
    if value and isinstance(value[0], str):
        return encode_array(8, len(value), b"".join(map(text, value)))
    return encode_array(4, len(value), struct.pack(f"<{len(value)}I", *value))


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.lists(tensors(), max_size=6, unique_by=lambda t: t.name))
def test_a_header_comes_back(metadata: dict[str, object], wanted: list[Tensor]) -> None:
    metadata = {f"x.{key}": value for key, value in metadata.items()}
    raw = encode_header({key: encoded(value) for key, value in metadata.items()}, wanted, 32)
    assert len(raw) % 32 == 0
    room = sum(tensor.size_bytes + 32 for tensor in wanted)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        path.write_bytes(raw + bytes(room))
        header = read_header(path)
        for key, value in metadata.items():
            if isinstance(value, list) and value and isinstance(value[0], str):
                assert [item.decode() for item in read_strings(path, header.arrays[key])] == value
            else:
                assert header.metadata[key] == (tuple(value) if isinstance(value, list) else value)
            start, end = header.spans[key]
            assert raw[start:end] == encoded(value)
    assert header.spans.keys() == metadata.keys()
    offset = len(raw)
    for found, tensor in zip(header.tensors, wanted, strict=True):
        assert (found.name, found.shape, found.type, found.size_bytes) == (
            tensor.name,
            tensor.shape,
            tensor.type,
            tensor.size_bytes,
        )
        assert found.offset == offset
        offset += -(-tensor.size_bytes // 32) * 32


@pytest.mark.parametrize("alignment", [32, 64])
def test_weights_are_copied_or_zero(tmp_path: Path, alignment: int) -> None:
    source = io.BytesIO(bytes(range(200)))
    made = [Piece(Tensor(name, (5,), "F32", 0, 20), offset) for name, offset in (("a", 3), ("b", None), ("c", 100))]
    seen: list[float] = []
    path = tmp_path / "m.gguf"
    metadata = {"general.alignment": encode_u32(alignment)}
    with path.open("wb") as out:
        write_model(out, metadata, made, source, alignment=alignment, progress=seen.append)
    raw = path.read_bytes()
    read = [raw[tensor.offset : tensor.offset + 20] for tensor in read_header(path).tensors]
    assert read == [bytes(range(3, 23)), bytes(20), bytes(range(100, 120))]
    assert len(raw) % alignment == 0
    assert seen == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_a_source_that_ends_too_early_is_an_error(tmp_path: Path) -> None:
    piece = Piece(Tensor("a", (5,), "F32", 0, 20), 190)
    with (tmp_path / "m.gguf").open("wb") as out, pytest.raises(InvalidModel, match="changed while it was read"):
        write_model(out, {}, [piece], io.BytesIO(bytes(200)), alignment=32, progress=lambda _: None)


def test_arrays_are_read_as_regions(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(encode_header({"x.heads": encode_array(4, 2, struct.pack("<2I", 7, 9))}, [], 32))
    header = read_header(path)
    assert read_region(path, header.arrays["x.heads"]) == struct.pack("<2I", 7, 9)
