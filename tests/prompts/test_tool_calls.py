from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.prompts.tool_calls import (
    ArgumentsText,
    CallBegun,
    Content,
    Piece,
    ToolCall,
    ToolCallReader,
    call_id,
    read_calls,
)
from exsa_lab.prompts.tool_format import ToolFormat, tool_format
from tests.prompts.tool_models import HERMES, LLAMA, MISTRAL, reply_model

FORMATS = {
    name: tool_format(reply_model(template, ""))
    for name, template in {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}.items()
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
calls = st.tuples(st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True), st.dictionaries(st.text(), json_values))


def written(format: ToolFormat, made: list[tuple[str, dict[str, object]]]) -> str:
    parts = [name + format.middle + json.dumps(arguments) for name, arguments in made]
    text = format.opening + (format.between or "").join(parts) + format.closing
    return text.replace("\ufffc", "a1B2c3D4e")


@pytest.mark.parametrize("name", FORMATS)
@given(
    made=st.lists(calls, min_size=1, max_size=3),
    content=st.sampled_from(["", "Well", "I look < it up"]),
    data=st.data(),
)
def test_calls_are_read_back_however_they_come(
    name: str, made: list[tuple[str, dict[str, object]]], content: str, data: st.DataObject
) -> None:
    format = FORMATS[name]
    made = made if format.between else made[:1]
    content = content if format.marker else ""
    text = content + "\n" + written(format, made)
    reader = ToolCallReader(format)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces: list[Piece] = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        pieces += reader.add(text[begin:end])
    pieces += reader.finish()
    assert [(call.name, json.loads(call.arguments)) for call in reader.calls] == made
    assert all(call.is_complete for call in reader.calls)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Content)) == content
    for index, call in enumerate(reader.calls):
        own = [piece for piece in pieces if not isinstance(piece, Content) and piece.index == index]
        assert own[0] == CallBegun(index, call.name)
        assert "".join(piece.text for piece in own if isinstance(piece, ArgumentsText)) == call.arguments


@pytest.mark.parametrize("name", FORMATS)
@given(text=st.text(alphabet='<tol_ca>{}"name: [TOOL_CALLS]x\n', max_size=40))
def test_a_text_without_calls_is_kept_as_it_is(name: str, text: str) -> None:
    content, found = read_calls(FORMATS[name], text)
    assert content == text
    assert not found


def test_a_call_that_is_cut_off() -> None:
    text = written(FORMATS["hermes"], [("f", {"a": "b c"})])
    content, found = read_calls(FORMATS["hermes"], text[: text.index("b c")])
    assert content == ""
    assert len(found) == 1
    assert not found[0].is_complete
    with pytest.raises(ValueError, match="Unterminated string"):
        found[0].as_message("x")


def test_as_a_message() -> None:
    call = ToolCall("f", '{"a": 1}', is_complete=True)
    assert call.as_message("id") == {"id": "id", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}


def test_ids_are_nine_letters_and_digits_and_each_its_own() -> None:
    ids = {call_id(seed, index) for seed in ("1", "2", "11") for index in range(3)}
    assert len(ids) == 9
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert call_id("1", 0) == call_id("1", 0)
