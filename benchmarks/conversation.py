"""How soon the replies of a long conversation begin, and how much of its history comes from the cache."""

from __future__ import annotations

import itertools

from exsa_lab.bench.measure import middle
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.conversation.chat import Chat
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.stats import Stats

TURNS = 30
SHOWN = (1, 2, 3, 5, 10, 20, 30)
REPLY_TOKENS = 24
QUESTIONS = ("Why is the sky blue?", "And at sunset?", "What about Mars?", "Say it for a child.", "Are you sure?")
WANTED_CACHED, WANTED_TTFT = 0.95, 1.5
"""Least share of the history that is cached from the second turn on; most of turn 3's time that turn 30 may take."""


def run(options: Options) -> Report:
    """Hold a conversation in each round, and report its turns."""
    turns = options.pick(TURNS, 4)
    report = Report("conversation", {"model": options.model, "turns": turns, "rounds": options.repeats})
    for subject in subjects(options):
        _measure(subject, turns, options, report)
    return report


def _measure(subject: Subject, turns: int, options: Options, report: Report) -> None:
    with subject.open_engine() as engine:
        rounds = [_talk(engine, turns, number) for number in range(options.repeats + 1)][1:]  # the first warms up
    table = report.table(subject.name, "turn", "tokens of the prompt", "read anew", "first token after, ms")
    times = [middle([talk[turn].ttft_s for talk in rounds], 1000) for turn in range(turns)]
    for turn in (turn for turn in SHOWN if turn <= turns):
        stats = rounds[0][turn - 1]
        anew = stats.prompt_tokens - stats.cached_prompt_tokens
        table.add(turn, stats.prompt_tokens, anew, times[turn - 1])
    cached = min(
        after.cached_prompt_tokens / (before.prompt_tokens + before.generated_tokens)
        for talk in rounds
        for before, after in itertools.pairwise(talk)
    )
    report.checks.append(Check(f"{subject.name}: least share of the history that is cached", cached, WANTED_CACHED))
    what = f"{subject.name}: first token of turn {turns} / of turn 3"
    report.checks.append(Check(what, times[-1].median / times[2].median, WANTED_TTFT, at_least=False))


def _talk(engine: Engine, turns: int, number: int) -> list[Stats]:
    """Hold the conversation of this number, which begins like no other one."""
    chat = Chat(f"Conversation {number}. Answer in one sentence.", engine=engine, max_tokens=REPLY_TOKENS)
    found = []
    for turn in range(turns):
        generation = chat.ask(QUESTIONS[turn % len(QUESTIONS)])
        generation.result()
        found.append(generation.stats)
    return found
