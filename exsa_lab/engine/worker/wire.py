"""What an engine in a child process and its parent say to each other, as bytes.

The parent is believed: it sends pickles. The child runs a file that may not be what it says: what it sends is JSON,
checked as a trace from a stranger is, and can be nothing but values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import chain
from operator import attrgetter
from typing import Any, BinaryIO

from exsa_lab import errors
from exsa_lab.engine.stats import EngineStatus, SlotUse, Stats, StepRecord, pack_uses
from exsa_lab.errors import EngineFailed, ExsaError
from exsa_lab.events import EVENT_TYPES, Event, checked_event
from exsa_lab.prompts.thinking import Thinking

MAX_FRAME = 1 << 30
_LENGTH = struct.Struct("<I")
_COLUMNS = {cls: tuple(field.name for field in fields(cls)) for cls in EVENT_TYPES}
_VALUES = {cls: attrgetter(*names) for cls, names in _COLUMNS.items()}
_NUMBERS = {cls: number for number, cls in enumerate(EVENT_TYPES)}
_STATS = tuple(field.name for field in fields(Stats) if field.name != "draft_reasons")


# Frames


def write_frame(file: BinaryIO, data: bytes) -> None:
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def read_frame(file: BinaryIO) -> bytes:
    """Return the next frame; raises EOFError at the end, or where one is cut off."""
    (length,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    if length > MAX_FRAME:
        raise EOFError(f"a frame of {length:,} bytes")
    return _read(file, length)


def _read(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if data is None or len(data) != length:
        raise EOFError("the other side is gone")
    return data


def to_bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("ascii")


# Values


def encode_events(events: Sequence[Event]) -> list[list[Any]]:
    """Return each event as a row: the number of its kind, and its fields in order."""
    return [[_NUMBERS[type(event)], *_VALUES[type(event)](event)] for event in events]


def decode_events(rows: Any) -> list[Event]:
    """Raises ValueError where a row is no event."""
    return [_decode_event(row) for row in _list(rows)]


def _decode_event(row: Any) -> Event:
    number, *values = _list(row)
    if type(number) is not int or not 0 <= number < len(EVENT_TYPES):
        raise ValueError(f"there is no kind {number!r} of event")
    cls = EVENT_TYPES[number]
    return checked_event(cls, dict(zip(_COLUMNS[cls], values, strict=True)))


def encode_stats(stats: Stats) -> list[Any]:
    return [*(getattr(stats, name) for name in _STATS), dict(stats.draft_reasons)]


def decode_stats(values: Any, stats: Stats) -> None:
    """Write them into ``stats``; raises ValueError where they are none."""
    *numbers, reasons = _list(values)
    if not isinstance(reasons, dict) or not all(type(count) is int for count in reasons.values()):
        raise ValueError("no counts of reasons")
    for name, number in zip(_STATS, numbers, strict=True):
        setattr(stats, name, _number(number))
    stats.draft_reasons = reasons


def encode_status(status: EngineStatus) -> dict[str, Any]:
    return asdict(status)


def decode_status(values: Any) -> EngineStatus:
    if not isinstance(values, dict) or not isinstance(values.pop("state", None), str):
        raise ValueError("no status")
    try:
        return EngineStatus("open", **{name: int(_number(number)) for name, number in values.items()})
    except TypeError as cause:
        raise ValueError("no status") from cause


def encode_steps(steps: Iterable[StepRecord]) -> list[list[Any]]:
    """Return each step as a row of its fields, its slots as the numbers they are."""
    return [[*step[:-1], list(chain.from_iterable(step.uses))] for step in steps]


def decode_steps(rows: Any) -> list[StepRecord]:
    try:
        return [_decode_step(*_list(row)) for row in _list(rows)]
    except TypeError as cause:
        raise ValueError("no steps") from cause


def _decode_step(*values: Any) -> StepRecord:
    *numbers, slots = values
    flat, width = decode_tokens(slots), len(SlotUse._fields)
    uses = [SlotUse(*flat[at : at + width]) for at in range(0, len(flat), width)]
    return StepRecord._make([*map(_number, numbers), pack_uses(uses)])


def decode_tokens(values: Any) -> list[int]:
    tokens = _list(values)
    if not all(type(token) is int and 0 <= token < 1 << 31 for token in tokens):
        raise ValueError("no tokens")
    return tokens


def encode_thinking(thinking: Thinking | None) -> list[Any] | None:
    if thinking is None:
        return None
    return [thinking.begin, thinking.end, thinking.is_open, [list(label) for label in thinking.labels], thinking.head]


def decode_thinking(values: Any) -> Thinking | None:
    if values is None:
        return None
    begin, end, is_open, labels, head = _list(values)
    pairs = tuple((int(_number(token)), str(text)) for token, text in map(_list, _list(labels)))
    return Thinking(str(begin), str(end), bool(is_open), pairs, str(head))


def encode_error(error: BaseException) -> list[str]:
    if isinstance(error, ExsaError):
        return [type(error).__name__, error.message, error.hint]
    return ["DecodeError", f"{type(error).__name__}: {error}", ""]


def decode_error(values: Any) -> ExsaError:
    """Return one of our own errors, whatever was sent."""
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(value, str) for value in values):
        return EngineFailed("the engine's process sent no error.")
    kind = getattr(errors, values[0], None)
    if not isinstance(kind, type) or not issubclass(kind, ExsaError):
        kind = EngineFailed
    return kind(values[1][:2000], hint=values[2][:2000])


def _list(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise ValueError(f"a list was expected, not {type(values).__name__}")
    return values


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 63:
        raise ValueError("a number was expected")
    return value
