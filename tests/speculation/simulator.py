"""A simulated machine and simulated texts, to compare the draft length policy with every fixed choice.

The text of a sequence is fixed beforehand, and so is, for each place, whether the draft model would be right there
and how confident it would be. All strategies therefore produce the same text, and only their time differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostCurve, CostModel, Kind
from exsa_lab.engine.proposers import FEW
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.draft_length import DraftLengthPolicy, DraftRequest, Outcome, StepPlan, Take
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.speculation.steady_length import policy_for
from exsa_lab.speculation.token_worth import steps_left, token_worths

MS = 1e-3

# Seconds by tokens, as measured on real machines.
Q4_1 = {n: 6.9 * MS * x for n, x in {1: 1, 2: 1.9, 3: 2.4, 4: 4.1, 5: 6.8, 8: 5.0, 16: 11.3, 64: 27}.items()}
Q8_0 = {n: 7.2 * MS * x for n, x in {1: 1, 2: 2.2, 3: 2.4, 4: 2.7, 5: 3.3, 8: 3.7, 16: 5.7, 64: 24}.items()}
IQ4_NL = {n: 4.8 * MS * x for n, x in {1: 1, 2: 1.7, 3: 2.2, 4: 2.5, 5: 3.4, 8: 4.0, 16: 6.1, 64: 22}.items()}
H100 = {
    n: 1.15 * MS * x
    for n, x in {1: 1, 2: 1.15, 3: 1.33, 4: 1.37, 5: 1.41, 8: 1.56, 12: 2.9, 16: 3.0, 32: 3.6, 64: 4.5, 512: 16}.items()
}
DRAFT_CPU = {
    n: 0.9 * MS * x for n, x in {1: 1, 2: 0.9, 3: 1.1, 4: 1.5, 5: 2.1, 8: 2.5, 16: 5.1, 64: 8, 512: 38}.items()
}
DRAFT_H100 = {
    n: 0.19 * MS * x for n, x in {1: 1, 2: 1.2, 3: 1.3, 4: 1.3, 5: 1.4, 8: 1.6, 16: 2.5, 64: 3, 512: 14}.items()
}

MACHINES: dict[str, tuple[dict[int, float], dict[int, float]]] = {
    "Q4_1": (Q4_1, DRAFT_CPU),
    "Q8_0": (Q8_0, DRAFT_CPU),
    "IQ4_NL": (IQ4_NL, DRAFT_CPU),
    "H100": (H100, DRAFT_H100),
    "flat": ({1: 10 * MS, 64: 11 * MS, 512: 20 * MS}, {1: 1 * MS, 64: 1.1 * MS, 512: 5 * MS}),
    "steep": ({1: 5 * MS, 64: 320 * MS}, {1: 0.5 * MS, 64: 8 * MS}),
    "convex": ({n: (5 + 0.05 * n * n) * MS for n in (1, 2, 4, 8, 16, 32, 64)}, {1: 0.5 * MS, 16: 2 * MS, 512: 20 * MS}),
    "jumpy": (
        {1: 5 * MS, 2: 5.2 * MS, 3: 11 * MS, 8: 11.5 * MS, 9: 22 * MS, 16: 23 * MS, 64: 80 * MS},
        {1: 0.4 * MS, 16: 1 * MS, 512: 15 * MS},
    ),
    "dear draft": ({1: 10 * MS, 16: 13 * MS, 64: 25 * MS}, {1: 6 * MS, 16: 8 * MS, 512: 30 * MS}),
}

GRAPHS = (
    {
        n: MS * x
        for n, x in {1: 1.16, 2: 1.3, 4: 1.6, 8: 2.0, 9: 3.4, 16: 3.7, 32: 4.6, 64: 5.6, 128: 8, 512: 20}.items()
    },
    {n: MS * x for n, x in {1: 0.27, 4: 0.4, 8: 0.53, 16: 0.93, 32: 1.2, 64: 1.6, 512: 4}.items()},
)
"""Steady decodes of the default pair on one H100, whose CUDA backend replays captured graphs."""
GRAPHS_SWITCH: dict[Kind, float] = {"target": 3.8 * MS, "draft": 1.2 * MS}


@dataclass
class Text:
    """One sequence: its prompt, its text, and what the draft model would make of each place."""

    prompt: list[int]
    tokens: list[int]
    is_right: list[bool]
    confidence: list[float]


@dataclass
class Machine:
    """True costs, what the policy was told of them, and how noisy its clock is."""

    target: CostCurve
    draft: CostCurve
    believed: CostModel
    noise: float = 0.0
    spikes: float = 0.0
    """Share of decodes that take eight times as long on the policy's clock."""
    load: Callable[[float], float] = field(default=lambda _: 1.0)
    """Slow-down by simulated time."""
    seed: int = 0
    round_seconds: float = 0.0
    """What a step with a draft takes beside its decodes, of which the policy was not told."""
    shapes: dict[str, tuple[tuple[int, int], int]] = field(default_factory=dict)
    """Of each model: the last decode's tokens and sequences, and how many of that shape came just before it."""

    def seconds(self, kind: Kind, num_tokens: int, num_sequences: int) -> float:
        """What a decode takes: the two after a change of shape pay half of its price each."""
        shape = (num_tokens, num_sequences)
        last, length = self.shapes.get(kind, ((0, 0), 0))
        self.shapes[kind] = shape, length + 1 if shape == last else 0
        switch = self.believed.switch_seconds[kind] / 2 if self.shapes[kind][1] < 2 else 0.0
        return switch + (self.target if kind == "target" else self.draft)(num_tokens)

    @classmethod
    def with_graphs(cls, **settings: object) -> Machine:
        """A GPU on which a change of the batch's shape is dear."""
        target, draft = GRAPHS
        believed = CostModel.from_measurements(target, draft, switch_seconds=GRAPHS_SWITCH)
        return cls(CostCurve(target), CostCurve(draft), believed, **settings)  # type: ignore[arg-type]

    @classmethod
    def named(cls, name: str, **settings: object) -> Machine:
        target, draft = MACHINES[name]
        return cls(CostCurve(target), CostCurve(draft), CostModel.from_measurements(target, draft), **settings)  # type: ignore[arg-type]


@dataclass
class _State:
    text: Text
    index: NgramIndex
    history: DraftHistory
    drafter: DrafterName
    looks_up: bool
    done: int = 0
    rounds: int = 0
    draft_cached: int = 0
    """Tokens of prompt and text that the draft has in its cache."""

    @property
    def left(self) -> int:
        return len(self.text.tokens) - self.done

    @property
    def steps_left(self) -> float:
        """See `Sequence.steps_left`."""
        return steps_left(self.left, self.rounds, self.done)

    @property
    def lag(self) -> int:
        return self.done + len(self.text.prompt) - self.draft_cached


@dataclass
class Result:
    """Seconds, and how the tokens came."""

    seconds: float = 0.0
    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


Fixed = tuple[DrafterName, int]


class Simulation:
    """Runs texts together as one batch, under the policy or with one fixed drafter and length."""

    def __init__(self, machine: Machine, policy: DraftLengthPolicy | None = None, *, is_crowded: bool = True) -> None:
        self.machine = machine
        self.is_crowded = is_crowded
        """Whether others wait, so that a text that ends makes room; without effect on the simulation itself."""
        self.policy = policy or policy_for(machine.believed, has_draft=True)
        self.result = Result()
        self._step_seconds = 0.0
        self._random = np.random.default_rng(machine.seed)

    def run(
        self,
        texts: list[Text],
        *,
        drafter: DrafterName = "auto",
        fixed: Fixed | None = None,
        stop_after: int = 1 << 30,
    ) -> Result:
        """Decode all texts to their end, or until ``stop_after`` tokens; may go on with more texts."""
        looks_up = drafter in ("auto", "ngram") if fixed is None else fixed[0] == "ngram"
        states = [
            _State(text, NgramIndex(text.prompt if looks_up else ()), self.policy.new_history(), drafter, looks_up)
            for text in texts
        ]
        while (running := [state for state in states if state.left]) and sum(s.done for s in states) < stop_after:
            if fixed:
                self._fixed_step(running, fixed)
            else:
                self._policy_step(running)
            self.result.steps += 1
        return self.result

    def _fixed_step(self, states: list[_State], fixed: Fixed) -> None:
        drafter, k = fixed
        lengths, decodes = [], []
        for state in states:
            limit = min(k, state.left - 1)
            proposal = state.index.propose(limit)[0] if drafter == "ngram" else []
            lengths.append(len(proposal) if drafter == "ngram" else limit)
            decodes.append(limit if drafter == "model" else 0)
        names: list[DrafterName] = [drafter] * len(states)
        self._advance(states, names, lengths, decodes, width=k if self.machine.believed.has_costly_shapes else 0)

    def _policy_step(self, states: list[_State]) -> None:
        self._step_seconds = 0.0
        if self.policy.rests([(state.history, state.index.match_length, state.drafter) for state in states]):
            for state in states:
                reason = self.policy.why_resting(state.history, state.index.match_length, state.drafter)
                self.result.reasons[reason] = self.result.reasons.get(reason, 0) + 1
            self._advance(states, ["none"] * len(states), [0] * len(states), [0] * len(states), learn=True)
            self.policy.observe_rest([state.history for state in states], self._step_seconds)
            return
        requests = []
        for state, worth in zip(states, self._worths(states), strict=True):
            limit = min(16, state.left - 1)
            proposal, match = state.index.propose(limit)
            requests.append(DraftRequest(state.history, state.drafter, limit, len(proposal), match, state.lag, worth))
        plan = self.policy.choose(requests)
        lengths, decodes, confidences, peeks = self._draft(states, plan)
        for choice in plan.choices:
            self.result.reasons[choice.reason] = self.result.reasons.get(choice.reason, 0) + 1
        starts = [state.done for state in states]
        names: list[DrafterName] = [choice.drafter for choice in plan.choices]
        accepted, copied = self._advance(states, names, lengths, decodes, width=plan.width, learn=True)
        outcomes = []
        for i, state in enumerate(states):
            right = None
            if peeks[i] is not None and accepted[i] == lengths[i]:
                right = state.text.is_right[starts[i] + lengths[i]]
            outcomes.append(Outcome(accepted[i], lengths[i], tuple(confidences[i]), peeks[i], right, copied[i]))
        if any(lengths):
            self._step_seconds += self.machine.round_seconds
            self.result.seconds += self.machine.round_seconds
        self.policy.observe(plan, outcomes, self._step_seconds)

    def _worths(self, states: list[_State]) -> list[float]:
        """As `Drafting` tells the policy."""
        if self.is_crowded or len(states) < 2:
            return [1.0] * len(states)
        seconds = self.policy.costs.plain_steps(len(states))
        return token_worths([state.steps_left for state in states], seconds, len(states))

    def _draft(
        self, states: list[_State], plan: StepPlan
    ) -> tuple[list[int], list[int], list[list[float]], list[float | None]]:
        lengths = [choice.k if choice.drafter == "ngram" else 0 for choice in plan.choices]
        decodes = [0] * len(states)
        confidences: list[list[float]] = [[] for _ in states]
        peeks: list[float | None] = [None] * len(states)
        active = [i for i, choice in enumerate(plan.choices) if choice.drafter == "model" and choice.k]
        while active:
            going_on = []
            for i in active:
                decodes[i] += 1
                confidence = states[i].text.confidence[states[i].done + lengths[i]]
                take = plan.take(i, confidence)
                if take is Take.STOP:
                    peeks[i] = confidence
                    continue
                lengths[i] += 1
                confidences[i].append(confidence)
                if take is Take.MORE:
                    going_on.append(i)
            active = going_on
        return lengths, decodes, confidences, peeks

    def _advance(
        self,
        states: list[_State],
        names: list[DrafterName],
        lengths: list[int],
        decodes: list[int],
        *,
        width: int = 0,
        learn: bool = False,
    ) -> tuple[list[int], list[int]]:
        """Pay for the step and commit its tokens; returns the accepted draft tokens of each sequence, and those
        committed that lookup would have had right."""
        self._draft_decodes([state.lag for state, n in zip(states, decodes, strict=True) if n], decodes, learn)
        self._decode("target", len(states) + sum(max(width, length) for length in lengths), len(states), learn)
        accepted, copied = [], []
        for state, name, length, num_decodes in zip(states, names, lengths, decodes, strict=True):
            start, tokens = state.done, state.text.tokens
            if name == "ngram":
                proposal = state.index.propose(length)[0]
                outcomes = [proposal[i] == tokens[start + i] for i in range(length)]
            else:
                outcomes = state.text.is_right[start : start + length]
            count = outcomes.index(False) if False in outcomes else length
            state.done += count + 1
            state.rounds += 1
            if num_decodes:
                state.draft_cached = len(state.text.prompt) + start + min(count, num_decodes - 1)
            learned = state.index.learn(tokens[start : state.done]) if state.looks_up else []
            if learn:
                is_alone = len(states) == 1
                self.policy.observe_ngram(state.history, learned, is_plain_alone=is_alone and not length)
            accepted.append(count)
            copied.append(sum(is_right for _, is_right in learned))
            self.result.drafted += length
            self.result.accepted += count
        return accepted, copied

    def _draft_decodes(self, lags: list[int], decodes: list[int], learn: bool) -> None:
        """The draft's decodes, catching up included, as `ModelDrafter` does them."""
        first = sum(lags)
        if lags and max(lags) <= FEW and self.machine.believed.has_costly_shapes:
            for _ in range(max(lags) - 1):
                self._decode("draft", len(lags), len(lags), learn)
            first = len(lags)
        for place in range(max(decodes)):
            num = sum(n > place for n in decodes)
            self._decode("draft", num if place else first, num, learn)

    def _decode(self, kind: Kind, num_tokens: int, num_sequences: int, learn: bool) -> None:
        machine = self.machine
        seconds = machine.seconds(kind, num_tokens, num_sequences) * machine.load(self.result.seconds)
        self.result.seconds += seconds
        if learn:
            self._step_seconds += seconds
            if machine.noise:
                seconds *= math.exp(machine.noise * self._random.standard_normal())
            if machine.spikes and self._random.random() < machine.spikes:
                seconds *= 8
            self.policy.costs.observe(kind, num_tokens, num_sequences, seconds)


# Texts


def fresh_tokens(rng: np.random.Generator, n: int) -> list[int]:
    """Text that repeats itself as little as prose does: some pairs come again, by chance."""
    return (rng.zipf(1.3, n) % 4000).tolist()  # type: ignore[no-any-return]


def steady(rng: np.random.Generator, n: int, acceptance: float) -> Text:
    """The draft is right with the same probability everywhere, and its confidence says nothing."""
    right = (rng.random(n) < acceptance).tolist()
    return Text(fresh_tokens(rng, 100), fresh_tokens(rng, n), right, [0.7] * n)


def switching(rng: np.random.Generator, n: int, period: int, low: float = 0.0, high: float = 0.97) -> Text:
    """Stretches where the draft is right and stretches where it is not, in turn."""
    text = steady(rng, n, 0.0)
    for i in range(n):
        text.is_right[i] = bool(rng.random() < (high if i // period % 2 == 0 else low))
    return text


def informative(rng: np.random.Generator, n: int, sharpness: float = 0.5, mean: float = 0.65) -> Text:
    """The confidence is the probability of being right."""
    confidence = rng.beta(mean * 2 * sharpness, (1 - mean) * 2 * sharpness, n)
    right = (rng.random(n) < confidence).tolist()
    return Text(fresh_tokens(rng, 100), fresh_tokens(rng, n), right, confidence.tolist())


def copying(rng: np.random.Generator, n: int, copied: float, run: int = 60, acceptance: float = 0.5) -> Text:
    """Stretches copied from the prompt, ``copied`` of the text, between fresh ones."""
    text = steady(rng, n, acceptance)
    text.prompt = fresh_tokens(rng, 600)
    tokens: list[int] = []
    while len(tokens) < n:
        start = int(rng.integers(0, 600 - run))
        tokens += text.prompt[start : start + run]
        if copied < 1:
            tokens += fresh_tokens(rng, max(1, round(run * (1 - copied) / copied)))
    text.tokens = tokens[:n]
    return text


# Strategies

LENGTHS = (1, 2, 3, 4, 5, 7, 11, 15)


def best_fixed(
    machine: Machine, texts: list[Text], drafter: DrafterName = "auto", stop_after: int = 1 << 30
) -> tuple[float, Fixed]:
    """Seconds of the best fixed drafter and length, found by trying them all."""
    drafters: tuple[DrafterName, ...] = ("model", "ngram") if drafter == "auto" else (drafter,)
    choices: list[Fixed] = [("none", 0), *((name, k) for name in drafters for k in LENGTHS)]
    return min(
        (Simulation(machine).run(texts, fixed=choice, stop_after=stop_after).seconds, choice) for choice in choices
    )


def plain_seconds(machine: Machine, texts: list[Text], stop_after: int = 1 << 30) -> float:
    """Seconds without any draft."""
    return Simulation(machine).run(texts, fixed=("none", 0), stop_after=stop_after).seconds


Texts = Callable[[np.random.Generator, int], Text]

MODEL_TEXTS: dict[str, Texts] = {
    "never right": lambda rng, n: steady(rng, n, 0.0),
    "30 % right": lambda rng, n: steady(rng, n, 0.3),
    "60 % right": lambda rng, n: steady(rng, n, 0.6),
    "80 % right": lambda rng, n: steady(rng, n, 0.8),
    "98 % right": lambda rng, n: steady(rng, n, 0.98),
    "long stretches": lambda rng, n: switching(rng, n, 150),
    "short stretches": lambda rng, n: switching(rng, n, 30),
    "confidence tells": informative,
    "confidence tells, easy": lambda rng, n: informative(rng, n, mean=0.85),
}
COPY_TEXTS: dict[str, Texts] = {
    "all copied": lambda rng, n: copying(rng, n, 1.0),
    "half copied": lambda rng, n: copying(rng, n, 0.5),
    "fifth copied": lambda rng, n: copying(rng, n, 0.2, run=30),
}
TOKENS = 1200


def compare(
    machine: Callable[[], Machine],
    texts: Texts,
    drafter: DrafterName,
    *,
    allowed: DrafterName = "auto",
    num_sequences: int = 1,
    tokens: int = TOKENS,
    seed: int = 1,
) -> tuple[float, float]:
    """Speed of the policy against plain decoding, and against the best fixed length of ``drafter``.

    The policy may use those ``allowed``. A batch stops when it has all the tokens, before sequences begin to run out:
    what is compared is throughput.
    """
    rng = np.random.default_rng(seed)
    batch = [texts(rng, tokens * (2 if num_sequences > 1 else 1)) for _ in range(num_sequences)]
    stop = tokens * num_sequences
    seconds = Simulation(machine()).run(batch, drafter=allowed, stop_after=stop).seconds
    best, _ = best_fixed(machine(), batch, drafter, stop_after=stop)
    return plain_seconds(machine(), batch, stop) / seconds, best / seconds
