"""Texts of a JSON schema: plain, with forced tokens, with the drafts that auto chooses; and what peers make of it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

from exsa_lab.bench.baselines import xllama
from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.measure import Run, interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.speculation.shaping import Shaping
from exsa_lab.structure.grammar import GrammarMask
from exsa_lab.structure.tokenizer import llguidance

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
FREE = "plain, any form"
LLAMA, SERVER = "llama-cpp-python, LlamaGrammar", "llama-server (xllamacpp), json_schema"
COUNTS = (1, 16)
LEAST = 0.97
ON_A_GPU = 1.5
WANTED = {"as-shipped": LEAST, "Q8_0": 1.2}
"""What auto is to make of plain decoding with the same schema, by weight format (Q4_1 is what is shipped), for one
request. Many fill the cores by themselves: there a forced token saves little more than its output layer."""
WEIGHTS = tuple(WANTED)
_OF_MASKS: tuple[tuple[type, str], ...] = (
    *((GrammarMask, name) for name in ("allowed", "admits", "forced", "commit")),
    (Shaping, "masked"),
)
"""Where the time for masks goes; what finds the best token or the chain's probabilities is spent without a form too."""
MASK_SHARE = 0.03
TEMPERATURES = (0.0, 0.8)
"""Greedy decoding asks about its best tokens one by one, sampling needs every token's flag."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="most tokens per request (default: 160)")
    parser.add_argument("--no-peers", action="store_true", help="measure exsa_lab alone")


def check(options: Options) -> None:
    """Raise RuntimeUnavailable where the package for texts of a form is missing."""
    llguidance()


def run(options: Options) -> Report:
    """Tokens per second with the schema, prefill included, in turns; each text must be whole or cut by the limit."""
    tokens = options.given.tokens or options.pick(160, 24)
    report = Report("structured", {"model": options.model, "tokens each": tokens, "rounds": options.repeats})
    for subject, weights in zip(subjects(options, n_seq_max=max(COUNTS)), options.weights, strict=True):
        wanted = ON_A_GPU if options.device == "gpu" else WANTED.get(weights, LEAST)
        _measure(subject, wanted, options, tokens, report)
    return report


def _measure(subject: Subject, wanted: float, options: Options, tokens: int, report: Report) -> None:
    table = report.table(subject.name, "requests at once", "contender", "tok/s", "against plain")
    with subject.open_engine() as engine:
        for count in COUNTS:
            runs: dict[str, Run] = {
                name: partial(_speed, engine, count, tokens, {"response_format": _format(), **way})
                for name, way in WAYS.items()
            }
            runs[FREE] = partial(_speed, engine, count, tokens, WAYS["plain"])
            with ExitStack() as stack:
                if not options.given.no_peers:
                    runs |= _peers(subject, engine, count, tokens, stack)
                values = interleaved(runs, options.repeats, progress=options.progress)
            for name, speeds in values.items():
                table.add(str(count), name, middle(speeds), ratio(speeds, values["plain"]))
            share = ratio(values["auto"], values["plain"])
            report.checks.append(
                Check(f"{subject.name}, {count} at once: auto / plain", share.median, wanted if count == 1 else LEAST)
            )
            for temperature in TEMPERATURES:
                masks = _mask_share(engine, count, tokens, temperature)
                name = f"{subject.name}, {count} at once, temperature {temperature:g}: time for masks / of the steps"
                report.checks.append(Check(name, masks, MASK_SHARE, at_least=False))


def _peers(subject: Subject, engine: Engine, count: int, tokens: int, stack: ExitStack) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    if count == 1:
        llama = stack.enter_context(HighLevelLlama(subject.path, subject.config, subject.n_threads))
        runs[LLAMA] = partial(_with_llama, llama, engine, tokens)
    if xllama.is_installed():
        server = xllama.XllamaServer(subject.path, subject.config, subject.n_threads, n_slots=count)
        runs[SERVER] = partial(_with_server, stack.enter_context(server), engine, count, tokens)
    return runs


def _format() -> dict[str, Any]:
    return {"type": "json_schema", "schema": SCHEMA}


def _speed(engine: Engine, count: int, max_tokens: int, params: dict[str, Any], number: int) -> float:
    """Tokens per second of all requests together, from the submission to the last end."""
    prompts = short_prompts(count, number * 16)
    engine.forget_texts()  # each way writes what the others wrote: to look it up there would be no speed of its own
    begin = time.perf_counter()
    generations = [engine.submit(prompt, max_tokens=max_tokens, **params) for prompt in prompts]
    texts = [generation.result() for generation in generations]
    seconds = time.perf_counter() - begin
    if "response_format" in params:
        for text, generation in zip(texts, generations, strict=True):
            if generation.finish_reason == "stop":
                json.loads(text)
    return sum(len(generation.tokens) for generation in generations) / seconds


def _with_llama(llama: HighLevelLlama, engine: Engine, max_tokens: int, number: int) -> float:
    prompt = chat_tokens(engine, short_prompts(1, number * 16)[0])
    done = llama.complete(prompt, max_tokens, schema=json.dumps(SCHEMA))
    return done.num_tokens / done.total_s


def _with_server(server: xllama.XllamaServer, engine: Engine, count: int, max_tokens: int, number: int) -> float:
    prompts = [chat_tokens(engine, prompt) for prompt in short_prompts(count, number * 16)]
    runs, seconds = server.complete_all(prompts, max_tokens, schema=SCHEMA)
    return sum(done.num_tokens for done in runs) / seconds


def _mask_share(engine: Engine, count: int, max_tokens: int, temperature: float) -> float:
    """The share of plain steps that goes into masks and into applying them, prompts apart."""
    begun, spent = len(engine.steps), [0.0]
    with ExitStack() as stack:
        for owner, name in _OF_MASKS:
            stack.enter_context(patch.object(owner, name, _timed(getattr(owner, name), spent)))
        form = {"response_format": _format(), "temperature": temperature, "seed": 1}
        _speed(engine, count, max_tokens, {**form, **WAYS["plain"]}, 0)
    return spent[0] / sum(step.step_s for step in engine.steps[begun:] if not step.prefill_tokens)


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Add the time of each call to the sum; they may call each other."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin, before = time.perf_counter(), spent[0]
        try:
            return function(*args, **kwargs)
        finally:
            spent[0] = before + time.perf_counter() - begin

    return timed
