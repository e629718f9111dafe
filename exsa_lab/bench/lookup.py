"""What "auto" makes of lookup, and how much any policy could: counted at the measured costs, not timed.

The texts are those of `speculation`, each written once by plain greedy decoding. What a looked-up draft would have
been worth at any place of them is then known. So the steps of "auto", of every fixed length, and of somebody who
knows beforehand what will be accepted can be counted, and priced at what verifying so many tokens costs here. That
has the luck of the texts, but none of the clock's noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, subjects
from exsa_lab.bench.workloads import WORKLOADS, chosen_workloads
from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.engine.cost_model import CostModel
from exsa_lab.engine.draft_length import DraftLengthPolicy
from exsa_lab.engine.draft_plan import DraftRequest, Outcome
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.ngram import NgramIndex
from exsa_lab.engine.trace import Trace
from exsa_lab.errors import ConfigError

WEIGHTS = ("as-shipped", "Q8_0")
FIXED_LENGTHS = (2, 4, 7, 8, 11, 15, 16)
WANTED_OVER_PLAIN = 0.97
WANTED_OF_BEST_FIXED = 0.92

Texts = dict[str, list[Trace]]
"""Plain greedy runs by kind of text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", help=f"some of {','.join(WORKLOADS)} (default: all)")
    parser.add_argument("--tokens", type=int, help="tokens per text (default: 128)")


def run(options: Options) -> Report:
    """Write every text once, then count."""
    kinds = chosen_workloads(options)
    tokens = options.given.tokens or options.pick(128, 16)
    report = Report("lookup", {"model": options.model, "tokens": tokens})
    for subject in subjects(options, prefix_cache_tokens=0, recalibrate=True):
        with subject.open_engine() as engine:
            costs = _measured(engine)
            texts = {kind: _write(engine, kind, tokens, options) for kind in kinds}
        _tabulate(subject.name, texts, costs, report)
    return report


def _measured(engine: Engine) -> CostModel:
    """The costs as they were measured at load: what steps teach later is this hour's."""
    costs: CostModel | None = engine.call(lambda loop: loop.drafting.costs)
    if costs is None or costs.has_costly_shapes:
        raise ConfigError(
            "steps are priced by the number of their tokens, and that is not what they cost here.",
            hint="Run this without --device gpu, or `bench speculation`, which measures.",
        )
    return CostModel.from_measurements(costs.target.points, switch_seconds={"target": costs.return_seconds})


def _write(engine: Engine, kind: str, tokens: int, options: Options) -> list[Trace]:
    prompts = WORKLOADS[kind]
    traces = []
    for number, prompt in enumerate(prompts, start=1):
        options.progress(f"writing {kind}, {number} of {len(prompts)}")
        traces.append(engine.generate(prompt, max_tokens=tokens, temperature=0, draft_length=0).trace)
    return traces


def _tabulate(name: str, texts: Texts, costs: CostModel, report: Report) -> None:
    table = report.table(
        f"{name}, counted", "kind of text", "auto / plain", "best fixed length", "best fixed / plain", "perfect / plain"
    )
    seconds = automatic_seconds(texts, costs)
    for kind, traces in texts.items():
        plain = fixed_seconds(traces, costs, 0)
        fixed = {length: fixed_seconds(traces, costs, length) for length in FIXED_LENGTHS}
        best = min(fixed, key=lambda length: fixed[length])
        perfect = sum(perfect_seconds(trace, costs) for trace in traces)
        table.add(kind, plain / seconds[kind], best, plain / fixed[best], plain / perfect)
        report.checks.append(Check(f"{name}, {kind}: auto / plain", plain / seconds[kind], WANTED_OVER_PLAIN))
        of_best = min(plain, fixed[best]) / seconds[kind]
        report.checks.append(Check(f"{name}, {kind}: auto / best fixed", of_best, WANTED_OF_BEST_FIXED))


# Counting


def fixed_seconds(traces: list[Trace], costs: CostModel, length: int) -> float:
    """Seconds of all steps after the first token with lookups of one length; 0 is plain decoding."""
    seconds = 0.0
    for trace in traces:
        by_length = trace.replay(length, "ngram").by_length
        seconds += sum(count * _step_seconds(costs, verified) for verified, count in enumerate(by_length))
        seconds -= _step_seconds(costs, 0)  # the first token is the prompt's
    return seconds


def automatic_seconds(texts: Texts, costs: CostModel) -> dict[str, float]:
    """Seconds of each kind under "auto" without a draft model; the mean over orders, as it learns from text to text."""
    seconds = dict.fromkeys(texts, 0.0)
    orders = list(_orders(list(texts)))
    for order in orders:
        policy = DraftLengthPolicy(costs, has_draft=False)
        for kind in order:
            seconds[kind] += sum(_automatic_seconds(trace, policy) for trace in texts[kind])
    return {kind: total / len(orders) for kind, total in seconds.items()}


def _orders(kinds: list[str]) -> Iterator[list[str]]:
    for names in (kinds, kinds[::-1]):
        for first in range(len(names)):
            yield names[first:] + names[:first]


def _automatic_seconds(trace: Trace, policy: DraftLengthPolicy) -> float:
    text, max_tokens = trace.tokens, int(trace.params["max_tokens"])
    history, index = policy.new_history(), _index(trace)
    index.learn(text[:1])
    done, seconds = 1, 0.0
    while done < len(text):
        plan, proposed = None, []
        if not policy.rests(history, index.match_length, "ngram"):
            limit = max(0, min(MAX_DRAFT_LENGTH, max_tokens - done - 1))
            proposed, match = index.propose(limit)
            plan = policy.choose([DraftRequest(history, "ngram", limit, len(proposed), match)])
            proposed = proposed[: plan.choices[0].k]
        right = _num_right(proposed, text[done:])
        committed = text[done : done + right + 1]
        looked_up = index.learn(committed)
        policy.observe_ngram(history, looked_up, is_plain_alone=not proposed)
        if plan is None:
            policy.observe_rest([history])
        else:
            copied = sum(is_right for _, is_right in looked_up)
            policy.observe(plan, [Outcome(accepted=right, verified=len(proposed), copied=copied)])
        seconds += _step_seconds(policy.costs, len(proposed))
        done += len(committed)
    return seconds


def perfect_seconds(trace: Trace, costs: CostModel) -> float:
    """Least seconds of all steps after the first token, if it were known beforehand which lookups are right."""
    text, index = trace.tokens, _index(trace)
    right = []
    for place, token in enumerate(text):
        right.append(_num_right(index.propose(MAX_DRAFT_LENGTH)[0], text[place:]))
        index.learn([token])
    least = [0.0] * (len(text) + 1)
    for place in range(len(text) - 1, 0, -1):
        least[place] = min(
            _step_seconds(costs, length) + least[min(len(text), place + length + 1)]
            for length in range(right[place] + 1)
        )
    return least[min(1, len(text))]


def _index(trace: Trace) -> NgramIndex:
    return NgramIndex(trace.prompt_ids, frozenset(trace.end_ids).__contains__)


def _num_right(proposed: list[int], text: list[int]) -> int:
    wrong = (place for place, (one, other) in enumerate(zip(proposed, text, strict=False)) if one != other)
    return next(wrong, min(len(proposed), len(text)))


def _step_seconds(costs: CostModel, num_drafted: int) -> float:
    """A step of one sequence; the plain one after a draft is dearer."""
    return costs.step_seconds(1 + num_drafted) + (costs.return_seconds if num_drafted else 0.0)
