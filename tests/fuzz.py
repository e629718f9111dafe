"""Bad inputs without end: ``python -m tests.fuzz NAME --seconds N`` (``all``: every one of them, N seconds each).

Each function makes one input of one kind and tries it. What is not refused by one of our own errors, in a line that
can be printed, is raised, with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import copy
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.conversation.chat import FORMAT, Chat
from exsa_lab.engine.stats import Stats
from exsa_lab.engine.text import TextStream
from exsa_lab.engine.worker import wire
from exsa_lab.errors import ExsaError
from exsa_lab.files import parse_json
from exsa_lab.magics.formatting import fill
from exsa_lab.models.gguf_reader import read_header
from exsa_lab.prompts.messages import own_prompt
from exsa_lab.prompts.template import ChatTemplate
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from tests.models.gguf_files import LOADABLE, LOADABLE_TENSORS, data_bytes, header

Fuzz = Callable[[random.Random], None]
CHARACTERS = "ab {}[]()%\"'\\.,:!|<>=-_/*0159\n\t\x00\x1b\u200b\u202eé漢😀\ud800"
SCALARS: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**40, 2**80, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "a", "\x1b[2J", "\ud800", b"", b"a", [], {}, object),
]
FOLDER = Path(tempfile.gettempdir())


def text(rng: random.Random, most: int = 24) -> str:
    return "".join(rng.choices(CHARACTERS, k=rng.randrange(most)))


def value(rng: random.Random, depth: int = 2) -> Any:
    if depth and rng.random() < 0.3:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and rng.random() < 0.2:
        return {text(rng, 6): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return text(rng) if rng.random() < 0.3 else rng.choice(SCALARS)


def jsonable(rng: random.Random) -> Any:
    while True:
        with contextlib.suppress(TypeError, ValueError):
            return json.loads(json.dumps(value(rng)))


def refused(action: Callable[[], object], *also: type[Exception]) -> None:
    """Do it; one of our own errors is fine, and so are those named."""
    said = ""
    try:
        action()
    except ExsaError as error:
        said = str(error)
    except also:
        pass
    assert said.isprintable(), said
    assert len(said) < 5000, said


def fuzz_params(rng: random.Random) -> None:
    kind = rng.choice((SamplingParams, EngineConfig))
    names = [*kind.__dataclass_fields__]
    given = {rng.choice(names): value(rng) for _ in range(rng.randrange(1, 3))}
    refused(lambda: kind(**given))


def fuzz_magics(rng: random.Random) -> None:
    from exsa_lab.magics.arguments import parse
    from exsa_lab.magics.magics import ExsaMagics

    words = ["--max-tokens", "--temperature", "-b", "--name", "--stop", "--view", "--draft", "--n-ctx", "all", "1"]
    line = " ".join(rng.choice(words) if rng.random() < 0.6 else text(rng, 8) for _ in range(rng.randrange(6)))
    magic = getattr(ExsaMagics, rng.choice(("exsa", "exsa_load", "exsa_cancel", "exsa_jobs", "exsa_bench")))
    refused(lambda: parse(magic, line))


def fuzz_format(rng: random.Random) -> None:
    pieces = ["{", "}", "{{", "}}", "{a", "{b.c}", "{d[k]}", ":>9", ":.3f}", "!r}", "99999999", "[", "]", "{a!x}", ":"]
    prompt = "".join(rng.choice(pieces) if rng.random() < 0.7 else text(rng, 4) for _ in range(rng.randrange(8)))
    refused(lambda: fill(prompt, {"a": 3, "b": object(), "d": {"k": "v"}, "s": "x"}))


def recorded_trace() -> dict[str, Any]:
    pieces = [chr(ord("a") + i) for i in range(12)]
    with scripted_engine(ScriptedModel(pieces, markov(12, 1)), ScriptedModel(pieces, markov(12, 2))) as engine:
        data: dict[str, Any] = engine.generate("abc", max_tokens=9, chat=False, draft_length=3).trace.to_json()
    return data


TRACE = recorded_trace()


def mutated(rng: random.Random, known: dict[str, Any]) -> dict[str, Any]:
    """A copy with other values in a few places, wherever they are."""
    data = copy.deepcopy(known)
    for _ in range(rng.randrange(1, 4)):
        inner: Any = data
        while True:
            keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = rng.choice(keys)
            if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.3:
                inner[key] = jsonable(rng)
                break
            inner = inner[key]
    return data


def fuzz_traces(rng: random.Random) -> None:
    try:
        trace = Trace.from_json(mutated(rng, TRACE))
    except ValueError:
        return
    trace.summary()
    trace.to_pandas() if rng.random() < 0.02 else None
    refused(lambda: trace.replay(rng.randrange(9)))


CHAT = {
    "format": FORMAT,
    "system": "S",
    "params": {"max_tokens": 3, "stop": ["a"], "logit_bias": {"3": 1.0}},
    "turns": [
        {
            "asked": [{"role": "user", "content": "a"}],
            "key": "cell",
            "reply": {
                "message": {"role": "assistant", "content": "bc", "token_ids": [1, 2]},
                "ending": "stop",
                "model": "m",
                "prompt_tokens": 1,
                "cached_tokens": 0,
                "first_turn": 0,
                "context": 64,
            },
        }
    ],
}


def fuzz_chats(rng: random.Random) -> None:
    """A file that is taken for a chat is shown, asked for its messages, and written as it was read."""
    try:
        chat = Chat.from_json(mutated(rng, CHAT))
    except ValueError:
        return
    assert Chat.from_json(json.loads(json.dumps(chat.to_json()))).turns == chat.turns
    assert "\x1b" not in repr(chat) + chat._repr_html_()
    assert len(chat.messages) >= 2 * len(chat)


def fuzz_json(rng: random.Random) -> None:
    raw = bytearray(json.dumps(jsonable(rng)).encode())
    for _ in range(rng.randrange(4)):
        raw[rng.randrange(len(raw)) :][:1] = rng.randbytes(1)
        raw.insert(rng.randrange(len(raw) + 1), rng.randrange(256))
    refused(lambda: parse_json(bytes(raw)), ValueError)


HEADER = header(LOADABLE, LOADABLE_TENSORS) + bytes(data_bytes(LOADABLE_TENSORS))


def fuzz_headers(rng: random.Random) -> None:
    raw = bytearray(HEADER)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(4, len(raw))
        piece = rng.choice((rng.randbytes(1), rng.choice((0, 1, 2**31, 2**32 - 1)).to_bytes(8, "little"), b"\xff" * 8))
        raw[at : at + len(piece)] = piece
    path = FOLDER / f"exsa-fuzz-{os.getpid()}-{rng.getrandbits(16):x}.gguf"
    path.write_bytes(raw if rng.random() < 0.8 else raw[: rng.randrange(len(raw))])
    try:
        refused(lambda: read_header(path))
    finally:
        path.unlink()


def fuzz_templates(rng: random.Random) -> None:
    pieces = [
        *("{{ ", " }}", "{% for m in messages %}", "{% endfor %}", "{% if x %}", "{% endif %}", "m.content", "|trim"),
        *(
            "|tojson",
            "|length",
            "range(9**9)",
            "'a' * 9**9",
            "messages[0]",
            "loop.index",
            "{% set x = 1 %}",
            ".__class__",
        ),
        *("|map('upper')", "namespace(a=1)", "raise_exception('no')", "1.5|round(900000000)", "'%9999999s' % 'a'"),
    ]
    source = "".join(rng.choice(pieces) if rng.random() < 0.85 else text(rng, 4) for _ in range(rng.randrange(9)))
    refused(lambda: ChatTemplate(source).render({"messages": [{"role": "user", "content": text(rng)}]}))


def fuzz_messages(rng: random.Random) -> None:
    keys = ["role", "content", "name", "tool_calls", "token_ids", text(rng, 5)]
    roles = ["user", "assistant", "system", "tool", value(rng, 0)]
    messages = [
        {key: rng.choice(roles) if key == "role" else value(rng) for key in rng.sample(keys, rng.randrange(1, 4))}
        for _ in range(rng.randrange(4))
    ]
    refused(lambda: own_prompt(rng.choice((messages, value(rng))), chat=rng.random() < 0.9))


def fuzz_stops(rng: random.Random) -> None:
    """Bytes in any pieces, stop texts anywhere: the same text as when it is looked at as a whole."""
    raw = text(rng, 40).encode("utf-8", "replace") if rng.random() < 0.7 else rng.randbytes(rng.randrange(40))
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(raw)  # no half ones
    stops = tuple({"".join(rng.choices("ab {", k=rng.randrange(1, 4))) for _ in range(rng.randrange(3))})
    stream, out, at = TextStream(stops), "", 0
    while at < len(raw) and not stream.stopped:
        size = rng.randrange(1, 5)
        out += "".join(stream.push(raw[at : at + size]))
        at += size
    out += "".join(stream.flush())
    seen = whole if at >= len(raw) else codecs.getincrementaldecoder("utf-8")("replace").decode(raw[:at])
    cut = min((place for stop in stops if (place := seen.find(stop)) >= 0), default=len(seen))
    assert out == seen[:cut], (raw, stops, out)


def fuzz_wire(rng: random.Random) -> None:
    decode = rng.choice((wire.decode_events, wire.decode_steps, wire.decode_tokens, wire.decode_status))
    refused(lambda: decode(jsonable(rng)), ValueError)
    refused(lambda: wire.decode_stats(jsonable(rng), Stats()), ValueError)
    assert str(wire.decode_error(jsonable(rng))).isprintable()


NAMES: dict[str, Fuzz] = {
    name.removeprefix("fuzz_"): function for name, function in sorted(globals().items()) if name.startswith("fuzz_")
}


def run(name: str, seconds: float, seed: int = 0) -> int:
    """Try inputs for so long; returns how many."""
    end, number = time.monotonic() + seconds, seed
    while time.monotonic() < end:
        run_some(name, 20, number)
        number += 20
    return number - seed


def run_some(name: str, count: int, seed: int = 0) -> None:
    """Try so many inputs, the same ones each time."""
    for number in range(seed, seed + count):
        try:
            NAMES[name](random.Random(number))
        except BaseException:
            print(f"{name}: seed {number}", file=sys.stderr)
            raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try bad inputs of one kind, or of all.")
    parser.add_argument("name", choices=[*NAMES, "all"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    arguments = parser.parse_args()
    names = list(NAMES) if arguments.name == "all" else [arguments.name]
    counts = {name: run(name, arguments.seconds, arguments.seed) for name in names}
    for name, count in counts.items():
        print(f"{name:<12}{count:>12,}")
    print(f"{'in all':<12}{sum(counts.values()):>12,}")


if __name__ == "__main__":
    main()
