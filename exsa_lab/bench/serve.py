"""What HTTP costs: many clients of the endpoint against `Engine.map`, and against llama-server."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from exsa_lab import loading
from exsa_lab.bench.baselines.xllama import XllamaServer, is_installed
from exsa_lab.bench.http_clients import Answered, Clients
from exsa_lab.bench.measure import Run, interleaved, median, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, EngineNotLoaded
from exsa_lab.serve import need_extra, serve, stop

if TYPE_CHECKING:  # it needs packages that may be missing
    from exsa_lab.serve.server import Server

NUM_CLIENTS = 16
WANTED_OVER_MAP = 0.95
WANTED_OVER_SERVER = 1.1
WANTED_FIRST_S = 0.005
"""Most that HTTP may add to the time to first token."""
_PLAIN = {"draft_length": 0}
"""Under ``exsa``: what `Engine.map` gets, too."""
_ALONE = 8
"""Prompts in a round for the time to first token, each asked directly and by HTTP, one after the other."""
MAP, STREAMED, WHOLE, PEER = "engine.map", "HTTP, streamed", "HTTP, whole", "llama-server, streamed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per request (default: 96)")


def check(options: Options) -> None:
    """Raise ExsaError where a package is missing or an engine loaded: the endpoint serves the kernel's own.

    Here that is the benchmark's.
    """
    need_extra()
    try:
        loading.get_engine()
    except EngineNotLoaded:
        return
    raise ConfigError("an engine is loaded, and the endpoint serves that.", hint="Unload it first: %exsa_unload.")


def run(options: Options) -> Report:
    """Tokens per second of all requests together, from the first request to the end of the last reply."""
    tokens = options.given.tokens or options.pick(96, 12)
    report = Report("serve", {"model": options.model, "tokens each": tokens, "rounds": options.repeats})
    for subject in subjects(options, n_seq_max=NUM_CLIENTS):
        with ExitStack() as stack:
            engine = loading.use(stack.enter_context(subject.open_engine()))
            stack.callback(loading.unload)
            stack.callback(stop)
            clients = stack.enter_context(Clients(NUM_CLIENTS))
            _throughput(subject, engine, serve(), clients, options, tokens, report)
            _first_token(subject, engine, serve(), clients, options, report)
    if not is_installed():
        report.notes.append("xllamacpp is not installed, so llama-server was left out: pip install 'exsa-lab[bench]'")
    return report


def _throughput(
    subject: Subject, engine: Engine, server: Server, clients: Clients, options: Options, tokens: int, report: Report
) -> None:
    with ExitStack() as stack:
        runs: dict[str, Run] = {
            MAP: partial(_mapped, engine, tokens),
            STREAMED: partial(_served, engine, server, clients, tokens, True),
            WHOLE: partial(_served, engine, server, clients, tokens, False),
        }
        if is_installed():
            peer = XllamaServer(subject.path, subject.config, subject.n_threads, n_slots=NUM_CLIENTS)
            stack.enter_context(peer)
            runs[PEER] = partial(_peer_served, peer, clients, tokens)
        values = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(f"{subject.name}, {NUM_CLIENTS} at once", "contender", "tok/s", f"against {MAP}")
    for name, speeds in values.items():
        table.add(name, middle(speeds, is_alike=False), ratio(speeds, values[MAP]))
    for name in (STREAMED, WHOLE):
        share = ratio(values[name], values[MAP]).median
        report.checks.append(Check(f"{subject.name}: {name} / {MAP}", share, WANTED_OVER_MAP))
    if PEER in values:
        gain = ratio(values[STREAMED], values[PEER]).median
        report.checks.append(Check(f"{subject.name}: {STREAMED} / {PEER}", gain, WANTED_OVER_SERVER))


def _prompts(number: int) -> list[str]:
    return short_prompts(NUM_CLIENTS, number * NUM_CLIENTS)


def _forget_this_round(engine: Engine, number: int) -> None:
    """Let the caches be what this contender alone would have left: the prompts of the round before.

    So it is for llama-server, whose slots keep what they read last, and new prompts begin like the old ones.
    """
    engine.forget_texts()
    if number:
        engine.map(_prompts(number - 1), progress=False, max_tokens=1, draft_length=0)


def _mapped(engine: Engine, max_tokens: int, number: int) -> float:
    _forget_this_round(engine, number)
    begin = time.perf_counter()
    generations = engine.map(_prompts(number), progress=False, max_tokens=max_tokens, draft_length=0)
    seconds = time.perf_counter() - begin
    return sum(len(generation.tokens) for generation in generations) / seconds


def _served(engine: Engine, server: Server, clients: Clients, max_tokens: int, streams: bool, number: int) -> float:
    _forget_this_round(engine, number)
    return _speed(
        clients.ask(
            server.base_url, server.api_key, _prompts(number), streams=streams, max_tokens=max_tokens, exsa=_PLAIN
        )
    )


def _peer_served(peer: XllamaServer, clients: Clients, max_tokens: int, number: int) -> float:
    return _speed(clients.ask(f"{peer.url}/v1", "", _prompts(number), max_tokens=max_tokens))


def _speed(answered: Answered) -> float:
    return sum(answered.num_tokens) / answered.seconds


# Time to first token, alone


def _first_token(
    subject: Subject, engine: Engine, server: Server, clients: Clients, options: Options, report: Report
) -> None:
    runs: dict[str, Run] = {
        "direct call": partial(_direct_first, engine),
        "HTTP": partial(_served_first, engine, server, clients),
    }
    values = interleaved(runs, _ALONE * options.repeats, progress=options.progress)
    table = report.table(f"{subject.name}, one at a time", "contender", "ms to first token")
    for name, seconds in values.items():
        table.add(name, middle(seconds, 1000, is_alike=False))
    pairs = zip(values["HTTP"], values["direct call"], strict=True)
    added = median(served - direct for served, direct in pairs)
    report.checks.append(
        Check(f"{subject.name}: seconds that HTTP adds to the first token", added, WANTED_FIRST_S, at_least=False)
    )


def _direct_first(engine: Engine, number: int) -> float:
    engine.forget_texts()
    return engine.generate(short_prompts(1, number)[0], max_tokens=4, draft_length=0).stats.ttft_s


def _served_first(engine: Engine, server: Server, clients: Clients, number: int) -> float:
    engine.forget_texts()
    prompts = short_prompts(1, number)
    return clients.ask(server.base_url, server.api_key, prompts, max_tokens=4, exsa=_PLAIN).first_s[0]
