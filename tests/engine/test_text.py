from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.engine.text import TextStream, unfinished


def feed(stream: TextStream, pieces: list[bytes]) -> list[str]:
    texts: list[str] = []
    for piece in pieces:
        texts += stream.push(piece)
        if stream.stopped:
            break
    return texts + stream.flush()


def test_a_character_split_over_tokens_belongs_to_the_token_that_completes_it() -> None:
    euro = "€".encode()
    assert feed(TextStream(), [b"a", euro[:1], euro[1:2], euro[2:], b"b"]) == ["a", "", "", "€", "b"]


def test_broken_utf8_becomes_replacement_characters() -> None:
    assert feed(TextStream(), [b"a\xff", b"b", b"\xe2\x82"]) == ["a\ufffd", "b", ""]


def test_a_stop_text_across_tokens_ends_the_text_before_it() -> None:
    stream = TextStream(("END",))
    assert stream.push(b"a E") == []
    assert stream.push(b"N") == []
    assert stream.push(b"D tail") == ["a ", "", ""]
    assert stream.stopped


def test_a_false_alarm_releases_what_was_held() -> None:
    stream = TextStream(("END",))
    assert stream.push(b"E") == []
    assert stream.push(b"x") == ["E", "x"]
    assert not stream.stopped


def test_the_earliest_of_several_stops_wins() -> None:
    stream = TextStream(("later", "b"))
    assert feed(stream, [b"a", b"b later"]) == ["a", ""]


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3), st.data())
def test_texts_add_up_to_what_stands_before_the_first_stop(text: str, stops: list[str], data: st.DataObject) -> None:
    raw = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    texts = feed(TextStream(tuple(stops)), pieces)
    whole = raw.decode("utf-8", "replace")
    # Tokens arrive one by one: the first token that completes a stop text decides, with the earliest stop in it.
    expected = whole
    for end in range(len(pieces)):
        so_far = b"".join(pieces[: end + 1]).decode("utf-8", "ignore")
        found = [so_far.find(stop) for stop in stops if stop in so_far]
        if found:
            expected = so_far[: min(found)]
            break
    assert "".join(texts) == expected


def test_a_text_cut_inside_a_character_ends_before_it() -> None:
    raw = "a\U0001f600b".encode()
    for cut in (2, 3, 4):
        assert feed(TextStream(), [raw[:1], raw[1:cut]]) == ["a", ""]
        assert unfinished(raw[:cut]) == raw[1:cut]
        assert feed(TextStream(begun=raw[1:cut]), [raw[cut:]]) == ["\U0001f600b"]
    assert unfinished(raw) == unfinished(b"") == b""
