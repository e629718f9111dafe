"""Hours in minutes: mixed requests, cancels, timeouts, reloads and deaths without a pause, and what went wrong."""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.events import State, StateEvent

WANTED_GROWTH = 1.05
"""Most memory at the end, of what the first engine took once it had served a batch."""
PATIENCE_S = 120.0
"""A generation that takes longer to end hangs."""
MOST_BEFORE_KILL_S = 1.0
BATCH = 24
BATCHES_PER_LOAD = 4


@dataclass(slots=True)
class Count:
    """What was served and what went wrong."""

    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Generations without an end, or with more than one."""
    wrong: int = 0
    """Plain texts that are not the beginning of what the same prompt gave alone."""
    hung: int = 0
    cells_left: int = 0
    """Slots or cells that did not come back."""
    loads: int = 0
    killed: int = 0
    """Processes of engines that were ended from outside."""
    dead: int = 0
    """Engines that served nothing any more afterwards."""

    @property
    def served(self) -> int:
        return sum(self.states.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help="how long (default: 2)")
    parser.add_argument("--loads", type=int, help="so many loads of one batch each, instead of a time")
    parser.add_argument(
        "--kill", action="store_true", help="run the engine in a process of its own, and kill that in every batch"
    )
    parser.add_argument("--seed", type=int, help="which mixture (default: 1)")


def run(options: Options) -> Report:
    """Load, serve batches of all kinds, close, and again, until the time is up."""
    minutes, loads = options.given.minutes or options.pick(2.0, 0.2), options.given.loads
    rng = random.Random(options.given.seed or 1)
    report = Report("soak", {"model": options.model, **({"loads": loads} if loads else {"minutes": minutes})})
    subject = subjects(options, n_seq_max=4, n_ctx=1024, reproducible=True)[0]
    count, memory = Count(), []
    end = time.monotonic() + 60 * minutes
    while count.loads < (loads or 2) or (not loads and time.monotonic() < end):
        with subject.open_isolated() if options.given.kill else subject.open_engine() as engine:
            count.loads += 1
            for _ in range(1 if loads else BATCHES_PER_LOAD):
                _serve(engine, rng, count, _alone(engine, subject), kill=options.given.kill)
                memory.append(psutil.Process().memory_info().rss)
                options.progress(f"load {count.loads}, {count.served} served")
                if not loads and time.monotonic() > end:
                    break
    _add(report, subject, count, memory)
    return report


_texts: dict[tuple[str, str], str] = {}


def _alone(engine: Engine, subject: Subject) -> dict[str, str]:
    """What each prompt gives by itself, generated once."""
    for prompt in short_prompts(BATCH, 0):
        if (subject.name, prompt) not in _texts:
            _texts[subject.name, prompt] = engine.generate(prompt, max_tokens=32, draft_length=0).text
    return {prompt: text for (name, prompt), text in _texts.items() if name == subject.name}


def _serve(engine: Engine, rng: random.Random, count: Count, alone: dict[str, str], *, kill: bool = False) -> None:
    generations = [engine.submit(prompt, **_params(rng)) for prompt in rng.sample(sorted(alone), BATCH)]
    for generation in rng.sample(generations, BATCH // 6):
        time.sleep(rng.random() / 20)
        generation.cancel("soak")
    if kill:
        time.sleep(rng.random() * MOST_BEFORE_KILL_S)
        os.kill(engine.call(_process_id), signal.SIGKILL)
        count.killed += 1
    for generation in generations:
        _check(generation, count, alone, may_fail=kill)
    if kill:
        again = engine.submit(next(iter(alone)), max_tokens=2)
        count.dead += not (again.wait(PATIENCE_S) and again.state is State.FINISHED)
    status = engine.status()
    count.cells_left += status.slots_used + status.running + status.waiting


def _process_id(loop: object) -> int:
    return os.getpid()


def _params(rng: random.Random) -> dict[str, Any]:
    params: dict[str, Any] = {"max_tokens": rng.choice((1, 8, 32))}
    params |= rng.choice(({}, {}, {"temperature": 0.8, "seed": rng.randrange(99)}, {"stop": ["the"]}, {"timeout": 0.3}))
    return params | rng.choice(({}, {"draft_length": 0}, {"drafter": "ngram", "draft_length": 4}))


def _check(generation: Generation, count: Count, alone: dict[str, str], *, may_fail: bool) -> None:
    if not generation.wait(PATIENCE_S):
        count.hung += 1
        return
    count.states[generation.state] += 1
    finals = [event for event in generation.events if isinstance(event, StateEvent) and event.state.is_final]
    count.lost += len(finals) != 1 or generation.events[-1] is not finals[0]
    count.lost += generation.state is State.FAILED and not may_fail
    if generation.params.temperature == 0:
        count.wrong += not alone[str(generation.prompt)].startswith(generation.text)


def _add(report: Report, subject: Subject, count: Count, memory: list[int]) -> None:
    table = report.table(subject.name, "what", "count")
    for name in ("served", "loads", "killed", "lost", "wrong", "hung", "cells_left", "dead"):
        table.add(name.replace("_", " "), getattr(count, name))
    for state, number in sorted(count.states.items()):
        table.add(f"of the served: {state}", number)
    growth = memory[-1] / memory[0]
    table.add("memory after the first batch, MB", memory[0] / 1e6)
    table.add("memory at the end, MB", memory[-1] / 1e6)
    bad = count.lost + count.wrong + count.hung + count.cells_left + count.dead
    report.checks.append(Check("lost, wrong, hung, left or dead", bad, 0, at_least=False))
    report.checks.append(Check("memory at the end / after the first batch", growth, WANTED_GROWTH, at_least=False))
