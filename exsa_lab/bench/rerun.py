"""What looking drafts up in everything seen brings where people repeat themselves.

A cell is run again; a word of its prompt is changed; twenty rows go through one template; a chat quotes what was said
before. No round repeats the texts of another, so that every contender has seen just what the round shows it.
Plain decoding, and lookup in the request's own text alone, run on an engine that keeps no texts.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from exsa_lab.bench.baselines.xllama import XllamaServer, is_installed
from exsa_lab.bench.contenders import AUTO, PLAIN, Contender, EngineSetting, Peer
from exsa_lab.bench.measure import Run, interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import PASSAGES, TOPICS
from exsa_lab.errors import ConfigError

WEIGHTS = ("Q8_0",)
REPEATS = MOST_REPEATS = 3
"""Rounds; also the most, for no passage may be quoted in two rounds."""
OWN_TEXT = "auto, own text only"
PEERS = (None, "ngram-mod", "ngram-cache", "ngram-simple")
WANTED_OVER_PLAIN = 0.97
WANTED_AGAIN = {"cpu": 2.2, "gpu": 4.0}
"""Of the same cell run again: on 2 cores with Q8_0, and on an H100."""
NUM_PROMPTS, ROWS = 3, 20
"""Prompts of a round, and rows of a template."""

_QUESTIONS = ("Explain {topic} to a {reader}.", "Write a short text about {topic} for a {reader}.")
_READERS = ("child", "student", "gardener", "pilot", "nurse", "neighbour")
_NAMES = ("Ada", "Bruno", "Chiara", "Dmitri", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas")
_CITIES = ("Lisbon", "Oslo", "Kyoto", "Lima", "Accra", "Hanoi", "Perth", "Quito", "Turin", "Tunis")
_GOODS = ("lamps", "bicycles", "kettles", "violins", "tents", "clocks")
_ROW = (
    "Write this order as JSON with the keys customer, city, item, quantity and status.\n\n"
    "{name} from {city} ordered {count} {item} in {month}."
)
_MONTHS = ("January", "March", "May", "July", "September", "November")
_QUOTE = 'Earlier you told me this:\n\n"{text}"\n\nRepeat it word for word, and then add one more sentence.'


@dataclass(frozen=True, slots=True)
class Repetition:
    """Prompts that are shown first, and those whose speed is measured."""

    before: tuple[str, ...]
    measured: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per text (default: 128)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(KINDS),
        default=list(KINDS),
        metavar="KIND",
        help="kinds of repetition: " + ", ".join(f'"{kind}"' for kind in KINDS),
    )
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--reproducible", action="store_true", help="load with reproducible=True, so that texts repeat")


def check(options: Options) -> None:
    """Raise ConfigError for more than `MOST_REPEATS` rounds."""
    if options.repeats > MOST_REPEATS:
        raise ConfigError(
            f"there are texts for {MOST_REPEATS} rounds, not for {options.repeats}: lookup would know what comes.",
            hint=f"Leave --repeats out, or give {MOST_REPEATS} at most.",
        )


def run(options: Options) -> Report:
    """Measure the kinds of repetition with every contender."""
    tokens = options.given.tokens or options.pick(128, 16)
    settings = {"model": options.model, "tokens": tokens, "rounds": options.repeats}
    report = Report("rerun", settings | ({"reproducible": True} if options.given.reproducible else {}))
    for subject in subjects(options):
        with ExitStack() as stack:
            contenders = _contenders(subject, stack, options.given)
            for kind in options.given.only:
                _measure(subject.name, kind, contenders, tokens, options, report)
    return report


def _contenders(subject: Subject, stack: ExitStack, given: argparse.Namespace) -> dict[str, Contender]:
    keeps = stack.enter_context(subject.open_engine(reproducible=given.reproducible))
    forgets = stack.enter_context(subject.open_engine(reproducible=given.reproducible, lookup_history=False))
    found: dict[str, Contender] = {
        PLAIN: EngineSetting(forgets, draft_length=0),
        OWN_TEXT: EngineSetting(forgets),
        AUTO: EngineSetting(keeps),
    }
    for kind in PEERS if is_installed() and not given.no_peers else ():
        server = XllamaServer(subject.path, subject.config, subject.n_threads, speculation=kind)
        found[f"xllamacpp, {kind or 'plain'}"] = Peer(forgets, stack.enter_context(server))
    return found


def _measure(
    name: str,
    kind: str,
    contenders: Mapping[str, Contender],
    tokens: int,
    options: Options,
    report: Report,
) -> None:
    num = options.pick(NUM_PROMPTS, 1)

    def runner(contender: Contender) -> Run:
        def measure(number: int) -> float:
            given = KINDS[kind](number, num)
            contender.in_turn(given.before, tokens, 0.0, 0)
            return contender.in_turn(given.measured, tokens, 0.0, 0)

        return measure

    runs = {each: runner(contender) for each, contender in contenders.items()}
    values = interleaved(runs, options.repeats, progress=lambda text: options.progress(f"{name}, {kind}, {text}"))
    report.values[f"{name}, {kind}"] = values
    table = report.table(f"{name}, {kind}", "contender", "tokens/s", "against plain")
    for each, speeds in values.items():
        table.add(each, middle(speeds, is_alike=False), ratio(speeds, values[PLAIN]))
        if contenders[each].is_peer:
            gain = ratio(values[AUTO], speeds).median
            report.checks.append(Check(f"{name}, {kind}: auto / {each}", gain, 1.0))
    gain = ratio(values[AUTO], values[PLAIN]).median
    wanted = WANTED_AGAIN[options.device] if kind == AGAIN else WANTED_OVER_PLAIN
    report.checks.append(Check(f"{name}, {kind}: auto / plain", gain, wanted))


def _questions(number: int, num: int) -> list[str]:
    """Questions that no other round asks."""
    chance = random.Random(number)
    first = number * num % len(TOPICS)
    topics = [TOPICS[(first + i) % len(TOPICS)] for i in range(num)]
    return [chance.choice(_QUESTIONS).format(topic=topic, reader=chance.choice(_READERS)) for topic in topics]


def _again(number: int, num: int) -> Repetition:
    prompts = tuple(_questions(number, num))
    return Repetition(prompts, prompts)


def _word_changed(number: int, num: int) -> Repetition:
    prompts = tuple(_questions(number, num))
    changed = (prompt.replace("Explain", "Describe").replace(" short ", " brief ") for prompt in prompts)
    return Repetition(prompts, tuple(changed))


def _rows(number: int, num: int) -> Repetition:
    chance = random.Random(number)
    rows = (
        _ROW.format(
            name=chance.choice(_NAMES),
            city=chance.choice(_CITIES),
            count=chance.randint(2, 90),
            item=chance.choice(_GOODS),
            month=chance.choice(_MONTHS),
        )
        for _ in range(ROWS if num > 1 else 2)
    )
    return Repetition((), tuple(rows))


def _quoting(number: int, num: int) -> Repetition:
    """As many passages as there are for every round, the warm-up included."""
    num = min(num, len(PASSAGES) // (1 + MOST_REPEATS))
    passages = (PASSAGES[(number * num + i) % len(PASSAGES)] for i in range(num))
    return Repetition((), tuple(_QUOTE.format(text=" ".join(passage.split())) for passage in passages))


AGAIN = "the same cell"
KINDS: dict[str, Callable[[int, int], Repetition]] = {
    AGAIN: _again,
    "a word changed": _word_changed,
    "rows by one template": _rows,
    "an earlier answer quoted": _quoting,
}
