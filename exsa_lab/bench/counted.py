"""Seconds that texts written before would have taken with lookup: steps counted, at costs that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exsa_lab.bench.measure import median
from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.costs.model import CostModel
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.draft_length import DraftLengthPolicy
from exsa_lab.speculation.draft_plan import DraftOutcome, DraftRequest
from exsa_lab.speculation.ngram import NgramIndex, num_right
from exsa_lab.trace.replay import lookup_index
from exsa_lab.trace.trace import Trace

Texts = dict[str, list[Trace]]
"""Plain greedy runs by kind of text."""


def typical_costs(measured: Sequence[CostModel]) -> CostModel:
    """Return the middle of several measurements, each point against the single token of its own measurement."""
    single = median(costs.target(1) for costs in measured)
    shares: dict[int, list[float]] = {}
    for costs in measured:
        for tokens, seconds in costs.target.points.items():
            shares.setdefault(tokens, []).append(seconds / costs.target(1))
    return CostModel.from_measurements(
        {tokens: single * median(found) for tokens, found in shares.items()},
        seconds_per_sequence=single * median(costs.seconds_per_sequence / costs.target(1) for costs in measured),
        switch_seconds={"target": single * median(costs.return_seconds / costs.target(1) for costs in measured)},
    )


def fixed_seconds(traces: list[Trace], costs: CostModel, length: int) -> float:
    """Seconds of all steps after the first token with lookups of one length; 0 is plain decoding."""
    seconds = 0.0
    for trace in traces:
        by_length = trace.replay(length, "ngram").by_length
        seconds += sum(count * _step_seconds(costs, verified) for verified, count in enumerate(by_length))
        seconds -= _step_seconds(costs, 0)  # the first token is the prompt's
    return seconds


def automatic_seconds(texts: Texts, costs: CostModel, at_once: int = 1) -> dict[str, float]:
    """Seconds of each kind under "auto" without a draft model; the mean over orders, as it learns from text to text."""
    seconds = dict.fromkeys(texts, 0.0)
    orders = list(_orders(list(texts)))
    for order in orders:
        policy = DraftLengthPolicy(costs, has_draft=False)
        for kind in order:
            for batch in _batches(texts[kind], at_once):
                seconds[kind] += _automatic_seconds(batch, policy)
    return {kind: total / len(orders) for kind, total in seconds.items()}


def _batches(traces: list[Trace], size: int) -> list[list[Trace]]:
    return [traces[first : first + size] for first in range(0, len(traces), size)]


def _orders(kinds: list[str]) -> Iterator[list[str]]:
    for names in (kinds, kinds[::-1]):
        for first in range(len(names)):
            yield names[first:] + names[:first]


@dataclass
class _Running:
    """A text on its way."""

    trace: Trace
    history: DraftHistory
    index: NgramIndex
    done: int = 1
    """Tokens it has; the first one is the prompt's."""

    @property
    def is_over(self) -> bool:
        return self.done >= len(self.trace.tokens)

    @property
    def num_left(self) -> int:
        """Tokens it may still generate; where it will end is not known to anybody."""
        return int(self.trace.params["max_tokens"]) - self.done

    def request(self) -> DraftRequest:
        limit = max(0, min(MAX_DRAFT_LENGTH, self.num_left - 1))
        proposed, match = self.index.propose(limit)
        return DraftRequest(self.history, "ngram", limit, len(proposed), match, tokens_left=self.num_left)

    def advance(self, length: int) -> tuple[DraftOutcome, list[tuple[int, bool]]]:
        """Verify a lookup of this length; returns what came of it, and what `NgramIndex.learn` says."""
        rest = self.trace.tokens[self.done :]
        right = num_right(self.index.propose(length)[0], rest)
        looked_up = self.index.learn(rest[: right + 1])
        committed = min(len(rest), right + 1)
        self.done += committed
        return DraftOutcome(committed=committed, verified=length), looked_up


def _automatic_seconds(traces: list[Trace], policy: DraftLengthPolicy) -> float:
    """Seconds of these texts as one batch that nobody waits for."""
    texts = [_Running(trace, DraftHistory(), lookup_index(trace)) for trace in traces]
    for text in texts:
        text.index.learn(text.trace.tokens[:1])
    seconds = 0.0
    while texts := [text for text in texts if not text.is_over]:
        plan = policy.choose([text.request() for text in texts])
        lengths = [choice.k for choice in plan.choices]
        outcomes = []
        for text, length in zip(texts, lengths, strict=True):
            outcome, looked_up = text.advance(length)
            policy.rates.observe_lookup(text.history, looked_up)
            outcomes.append(outcome)
        step = _step_seconds(policy.costs, sum(lengths), len(texts))
        policy.observe(plan, outcomes, step)
        seconds += step
    return seconds


def plain_seconds_at_once(traces: list[Trace], costs: CostModel) -> float:
    """Seconds of plain decoding as one batch, after the first tokens."""
    longest = max(len(trace.tokens) for trace in traces)
    running = [sum(len(trace.tokens) > done for trace in traces) for done in range(1, longest)]
    return sum(_step_seconds(costs, 0, num) for num in running)


def perfect_seconds(trace: Trace, costs: CostModel) -> float:
    """Least seconds of all steps after the first token, if it were known beforehand which lookups are right."""
    text, index = trace.tokens, lookup_index(trace)
    right = []
    for place, token in enumerate(text):
        right.append(num_right(index.propose(MAX_DRAFT_LENGTH)[0], text[place:]))
        index.learn([token])
    least = [0.0] * (len(text) + 1)
    for place in range(len(text) - 1, 0, -1):
        least[place] = min(
            _step_seconds(costs, length) + least[min(len(text), place + length + 1)]
            for length in range(right[place] + 1)
        )
    return least[min(1, len(text))]


def _step_seconds(costs: CostModel, num_drafted: int, num_sequences: int = 1) -> float:
    """A step of some sequences; the plain one after a draft is dearer."""
    seconds = costs.step_seconds(num_sequences + num_drafted, num_sequences)
    return seconds + costs.return_seconds if num_drafted else seconds
