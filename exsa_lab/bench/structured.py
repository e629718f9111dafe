"""Texts of a JSON schema: plain, with forced tokens, and with the drafts that auto chooses; and llama-cpp-python."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.measure import Run, interleaved, median, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine

_TEXT = {"type": "string", "maxLength": 24}
_KEYS = ("first_name", "last_name", "street_address", "city", "country", "occupation", "favourite_colour")
SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(_KEYS, _TEXT),
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "is_customer": {"type": "boolean"},
    },
    "required": [*_KEYS, "age", "is_customer"],
    "additionalProperties": False,
}
"""A record as programs ask for it: many keys, short values."""
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"draft_length": 0},
    "auto": {},
}
FREE, PEER = "plain, any form", "llama-cpp-python, LlamaGrammar"
COUNTS = (1, 16)
WANTED = 0.97


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="most tokens per request (default: 160)")


def run(options: Options) -> Report:
    """Tokens per second with the schema, prefill included, in turns; each text must be whole or cut by the limit."""
    tokens = options.given.tokens or options.pick(160, 24)
    report = Report("structured", {"model": options.model, "tokens each": tokens, "rounds": options.repeats})
    for subject in subjects(options, n_seq_max=max(COUNTS)):
        _measure(subject, options, tokens, report)
    return report


def _measure(subject: Subject, options: Options, tokens: int, report: Report) -> None:
    table = report.table(subject.name, "requests at once", "contender", "tok/s", "against plain")
    with ExitStack() as stack:
        engine = stack.enter_context(subject.open_engine())
        for count in COUNTS:
            runs: dict[str, Run] = {
                name: partial(_speed, engine, count, tokens, {"response_format": _format(), **way})
                for name, way in WAYS.items()
            }
            runs[FREE] = partial(_speed, engine, count, tokens, WAYS["plain"])
            if count == 1:
                llama = stack.enter_context(HighLevelLlama(subject.path, subject.config, subject.n_threads))
                runs[PEER] = partial(_peer, llama, engine, tokens)
            values = interleaved(runs, options.repeats, progress=options.progress)
            for name, speeds in values.items():
                table.add(str(count), name, median(speeds), ratio(speeds, values["plain"]))
            share = ratio(values["auto"], values["plain"])
            report.checks.append(Check(f"{subject.name}, {count} at once: auto / plain", share.median, WANTED))


def _format() -> dict[str, Any]:
    return {"type": "json_schema", "schema": SCHEMA}


def _speed(engine: Engine, count: int, max_tokens: int, params: dict[str, Any], number: int) -> float:
    """Tokens per second of all requests together, from the submission to the last end."""
    prompts = short_prompts(count, number * 16)
    begin = time.perf_counter()
    generations = [engine.submit(prompt, max_tokens=max_tokens, **params) for prompt in prompts]
    texts = [generation.result() for generation in generations]
    seconds = time.perf_counter() - begin
    if "response_format" in params:
        for text, generation in zip(texts, generations, strict=True):
            if generation.finish_reason == "stop":
                json.loads(text)
    return sum(len(generation.tokens) for generation in generations) / seconds


def _peer(llama: HighLevelLlama, engine: Engine, max_tokens: int, number: int) -> float:
    prompt = chat_tokens(engine, short_prompts(1, number * 16)[0])
    done = llama.complete(prompt, max_tokens, schema=json.dumps(SCHEMA))
    return done.num_tokens / done.total_s
