"""Simulated machines that decode recorded texts, to compare the draft policy with every fixed setting.

The texts are real: `recorded_texts.json` holds, for six kinds of prompts, the prompt's tokens, the text that the
default target wrote greedily (160 tokens at most), and for each place whether the default draft, given the text
before it, would have been right, and its confidence. All settings therefore produce the same text, and only the
time differs. What lookup would propose at each place is computed once by `NgramIndex`.

A machine is two cost curves as measured on real machines, what Python takes beside the decodes, and the price of a
changed batch shape. `comparison.py` prints how the policy does on all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.costs.model import CostCurve, CostModel
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.draft_length import DraftLengthPolicy
from exsa_lab.speculation.draft_plan import DraftOutcome, DraftRequest, StepPlan, Take
from exsa_lab.speculation.ngram import NgramIndex, num_right

MS = 1e-3
RECORDED = Path(__file__).with_name("recorded_texts.json")
KINDS = ("chat", "code", "summarise", "edit", "repeat", "json", "adversarial", "turns", "again", "mixed")
MIXED = ("chat", "again", "code", "edit", "chat", "repeat", "chat", "again")
GPU_WIDTHS = (1, 2, 4, 8)
STEPS_TO_RECORD = 3


# Machines


@dataclass(frozen=True)
class Machine:
    """True costs of one pair on one machine. Times in seconds."""

    name: str
    target: dict[int, float]
    """Decode of one sequence by number of tokens."""
    draft: dict[int, float]
    per_sequence: float = 0.0
    """What each further sequence adds to a decode of the target."""
    per_row: float = 15e-6
    """What Python takes for each row of the target's logits, and for each token of the draft."""
    per_step: float = 0.1 * MS
    """What Python takes for a step beside that."""
    switch: tuple[float, float] = (0.0, 0.0)
    """Price of a changed batch shape, target and draft."""
    deciding: tuple[float, float] = (20e-6, 4e-6)
    """What a decision takes: in all, and for each sequence. Only where the device does not compute meanwhile."""
    noise: float = 0.05
    """Of the clock: lognormal."""
    spikes: float = 0.003
    """Share of steps that take eight times as long on the clock."""
    misjudged: float = 0.03
    """Of what calibration measured at each point."""
    draft_told: float = 1.0
    """What calibration measured of a decode of the draft, as a share of what it takes."""

    @property
    def is_gpu(self) -> bool:
        return self.switch[0] > 0

    def scaled(self, times: float) -> Machine:
        """The same with a target of ``times`` the cost."""
        target = {n: seconds * times for n, seconds in self.target.items()}
        switch = (self.switch[0] * times, self.switch[1])
        return replace(self, name=f"{self.name} x{times:g}", target=target, switch=switch)

    def with_dear_draft(self, times: float) -> Machine:
        """The same with a draft that takes ``times`` what calibration measured."""
        draft = {n: seconds * times for n, seconds in self.draft.items()}
        return replace(self, name=f"{self.name} draft x{times:g}", draft=draft, draft_told=self.draft_told / times)


def _times(unit: float, points: dict[int, float]) -> dict[int, float]:
    return {n: unit * MS * x for n, x in points.items()}


_DRAFT_2 = _times(0.77, {1: 1, 2: 1.0, 3: 1.1, 4: 1.5, 5: 2.1, 8: 2.5, 16: 5.1, 64: 9, 512: 44})
_DRAFT_16 = _times(0.57, {1: 1, 2: 1.1, 4: 1.2, 8: 1.5, 16: 2.2, 64: 4, 512: 20})
_DRAFT_H100 = _times(0.3, {1: 1, 2: 1.2, 4: 1.3, 8: 1.7, 16: 3.0, 32: 3.9, 64: 5.2, 512: 14})
_H100 = _times(
    1.16,
    {1: 1, 2: 1.27, 4: 1.27, 5: 1.5, 8: 1.5, 9: 2.75, 16: 2.8, 17: 3.5, 32: 3.6, 64: 4.5, 128: 6.9, 256: 10, 512: 16},
)
_CPU = {"per_row": 30e-6}
_PRICE = (3.8 * MS, 1.2 * MS)
_BASE = (
    Machine(
        "2 cores Q4_1", _times(6.9, {1: 1, 2: 1.9, 3: 2.4, 4: 4.1, 5: 6.8, 8: 5.0, 16: 11.3, 64: 27}), _DRAFT_2, **_CPU
    ),
    Machine(
        "2 cores Q8_0", _times(7.2, {1: 1, 2: 2.2, 3: 2.4, 4: 2.7, 5: 3.3, 8: 3.7, 16: 5.7, 64: 19}), _DRAFT_2, **_CPU
    ),
    Machine(
        "2 cores IQ4_NL", _times(4.8, {1: 1, 2: 1.7, 3: 2.2, 4: 2.5, 5: 3.4, 8: 4.0, 16: 6.1, 64: 19}), _DRAFT_2, **_CPU
    ),
    Machine(
        "2 cores 1.5B",
        _times(67, {1: 1, 2: 1.7, 3: 2.2, 4: 2.5, 5: 3.4, 8: 4.0, 16: 6.1, 64: 19}),
        _times(24, {1: 1, 2: 1.5, 3: 2.0, 4: 2.3, 8: 3.8, 16: 6, 64: 18, 512: 140}),
        **_CPU,
    ),
    Machine(
        "16 cores",
        {n: ms * MS for n, ms in {1: 2.9, 2: 4.9, 3: 5.0, 4: 5.7, 5: 5.9, 6: 6.5, 8: 7.9, 16: 12.4, 64: 30}.items()},
        _DRAFT_16,
        **_CPU,
    ),
    Machine(
        "16 cores 1.5B",
        {n: ms * MS for n, ms in {1: 21.9, 2: 32, 3: 37, 4: 36, 5: 35, 6: 38, 8: 45, 16: 57, 64: 130}.items()},
        _times(8.8, {1: 1, 2: 1.4, 4: 1.6, 8: 2.0, 16: 2.8, 64: 6, 512: 40}),
        **_CPU,
    ),
    Machine("H100", _H100, _DRAFT_H100, per_sequence=0.03 * MS, switch=_PRICE),
    Machine(
        "H100 1.5B",
        {n: 2.2 * seconds for n, seconds in _H100.items()},
        {n: 5.0 * seconds for n, seconds in _DRAFT_H100.items()},
        per_sequence=0.03 * MS,
        switch=(5 * MS, 3.5 * MS),
    ),
)
MACHINES = {
    machine.name: machine
    for machine in (
        *_BASE,
        _BASE[1].scaled(4),
        _BASE[1].scaled(10),
        _BASE[6].scaled(4),
        _BASE[6].scaled(10),
        _BASE[7].scaled(5),
        _BASE[1].with_dear_draft(2),
        _BASE[6].with_dear_draft(2),
    )
}


# Texts


@dataclass(frozen=True, eq=False)
class Text:
    """One recorded text. Lists have one entry for each place."""

    num_prompt: int
    num_tokens: int
    is_right: tuple[bool, ...]
    """Whether the draft model's token is the one that came."""
    confidence: tuple[float, ...]
    match_length: tuple[int, ...]
    proposed: tuple[int, ...]
    """Tokens that lookup proposes."""
    copied: tuple[int, ...]
    """Those among them that are right, up to the first that is not."""
    learned: tuple[tuple[tuple[int, bool], ...], ...]
    """What `NgramIndex.learn` says of the token at each place."""


def make_text(
    prompt: Sequence[int], tokens: Sequence[int], is_right: Sequence[bool], confidence: Sequence[float]
) -> Text:
    """Look up along a text."""
    index = NgramIndex(prompt)
    matches, proposed, copied, learned = [], [], [], []
    for place, token in enumerate(tokens):
        proposal, match = index.propose(MAX_DRAFT_LENGTH)
        matches.append(match)
        proposed.append(len(proposal))
        copied.append(num_right(proposal, tokens[place:]))
        learned.append(tuple(index.learn([token])))
    return Text(
        len(prompt),
        len(tokens),
        tuple(is_right),
        tuple(confidence),
        tuple(matches),
        tuple(proposed),
        tuple(copied),
        tuple(learned),
    )


@cache
def texts(kind: str) -> tuple[Text, ...]:
    """Eight texts of a kind; three kinds are made from the others ("mixed" by `waves`).

    "adversarial": the draft is as sure as ever, and wrong. "turns": pieces of 40 tokens of all kinds in turn. "again":
    chat that lookup has seen before.
    """
    data = json.loads(RECORDED.read_text())
    if kind == "turns":
        return tuple(_turns(data, seed) for seed in range(8))
    if kind == "again":
        return tuple(_again(row) for row in data["chat"])
    rows = data["chat" if kind == "adversarial" else kind]
    made = []
    for row in rows:
        right = [mark == "1" for mark in row["right"]]
        if kind == "adversarial":
            right = [False if sure > 0.5 else is_right for is_right, sure in zip(right, row["confidence"], strict=True)]
        made.append(make_text(row["prompt"], row["tokens"], right, row["confidence"]))
    return tuple(made)


def _again(row: dict[str, Any]) -> Text:
    seen = [*row["prompt"], *row["tokens"], *row["prompt"]]
    text = make_text(seen, row["tokens"], [mark == "1" for mark in row["right"]], row["confidence"])
    return replace(text, num_prompt=len(row["prompt"]))


def _turns(data: dict[str, list[dict[str, object]]], seed: int) -> Text:
    prompt, tokens, right, confidence = [], [], [], []
    for piece, kind in enumerate(("chat", "repeat", "code", "edit")):
        row = data[kind][(seed + piece) % 8]
        prompt += row["prompt"]  # type: ignore[arg-type]
        tokens += row["tokens"][:40]  # type: ignore[index]
        right += [mark == "1" for mark in row["right"][:40]]  # type: ignore[index]
        confidence += row["confidence"][:40]  # type: ignore[index]
    return make_text(prompt, tokens, right, confidence)


# Running


@dataclass(eq=False)
class State:
    """One text on its way."""

    text: Text
    history: object = None
    done: int = 1
    """Tokens committed: the first comes with the prompt."""
    draft_cached: int = 0
    """Tokens of prompt and text that the draft has in its cache."""

    @property
    def left(self) -> int:
        return self.text.num_tokens - self.done

    @property
    def lag(self) -> int:
        return self.done + self.text.num_prompt - self.draft_cached


@dataclass(frozen=True)
class Drafted:
    """One sequence's draft in one step."""

    drafter: DrafterName = "none"
    length: int = 0
    """Tokens that are verified."""
    decodes: int = 0
    """Tokens that the draft model computed."""


@dataclass
class Clock:
    """A machine at work: what each decode takes, on time and on the clock the policy sees."""

    machine: Machine
    random: np.random.Generator
    seconds: float = 0.0
    _target: CostCurve = field(init=False)
    _draft: CostCurve = field(init=False)
    _shapes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._target, self._draft = CostCurve(self.machine.target), CostCurve(self.machine.draft)

    def target(self, num_tokens: int, num_sequences: int, num_rows: int | None = None) -> float:
        """A decode of the target with what Python does to its rows; the price of a changed shape included."""
        machine = self.machine
        rows = num_tokens if num_rows is None else num_rows
        seconds = self._target(num_tokens) + machine.per_sequence * (num_sequences - 1) + machine.per_row * rows
        return seconds + self._switch("target", num_tokens, machine.switch[0])

    def draft(self, num_tokens: int, num_rows: int) -> float:
        price = self._switch("draft", num_tokens, self.machine.switch[1])
        return self._draft(num_tokens) + self.machine.per_row * num_rows + price

    def new_shape(self) -> None:
        """A prompt was read."""
        self._shapes.clear()

    def observed(self, seconds: float) -> float:
        """What the clock shows of a span."""
        seconds *= math.exp(self.machine.noise * self.random.standard_normal())
        return seconds * 8 if self.random.random() < self.machine.spikes else seconds

    def _switch(self, kind: str, num_tokens: int, price: float) -> float:
        """A new shape pays half of the price in each of its first two decodes."""
        last, length = self._shapes.get(kind, (0, 0))
        length = length + 1 if last == num_tokens else 0
        self._shapes[kind] = num_tokens, length
        return price / 2 if length < 2 else 0.0


def draft_seconds(
    clock: Clock,
    lags: Sequence[int],
    decodes: Sequence[int],
    on_decode: Callable[[int, int, float], None] = lambda num_tokens, num_sequences, seconds: None,
) -> float:
    """The draft's decodes, catching up included, as `ModelDrafter` does and tells them."""
    active = [(lag, n) for lag, n in zip(lags, decodes, strict=True) if n]
    if not active:
        return 0.0
    total = 0.0

    def decode(num_tokens: int, num_sequences: int) -> None:
        nonlocal total
        seconds = clock.draft(num_tokens, num_sequences)
        on_decode(num_tokens, num_sequences, seconds)
        total += seconds

    most = max(lag for lag, _ in active)
    first = sum(lag for lag, _ in active)
    if clock.machine.is_gpu and most <= 4:
        for _ in range(most - 1):
            decode(len(active), len(active))
        first = len(active)
    for place in range(max(n for _, n in active)):
        num = sum(n > place for _, n in active)
        decode(num if place else first, num)
    return total


def advance(states: Sequence[State], drafts: Sequence[Drafted]) -> list[int]:
    """Commit a step's tokens; returns the accepted draft tokens of each sequence."""
    accepted = []
    for state, drafted in zip(states, drafts, strict=True):
        text, start = state.text, state.done
        if drafted.drafter == "ngram":
            count = min(drafted.length, text.copied[start])
        else:
            right = text.is_right[start : start + drafted.length]
            count = right.index(False) if False in right else drafted.length
        state.done = min(text.num_tokens, start + count + 1)
        if drafted.decodes:
            state.draft_cached = text.num_prompt + start + min(count, drafted.decodes - 1)
        accepted.append(count)
    return accepted


Setting = Callable[[Clock, Sequence[State]], float]
"""Runs one step of these texts and returns its seconds."""


def fixed(drafter: DrafterName, k: int) -> Setting:
    """Always the same drafter and draft length, as a user would set them; a GPU's batches are padded to it."""

    def step(clock: Clock, states: Sequence[State]) -> float:
        drafts = []
        for state in states:
            limit = min(k, state.left - 1)
            length = min(limit, state.text.proposed[state.done]) if drafter == "ngram" else limit
            drafts.append(Drafted(drafter, length, limit if drafter == "model" else 0))
        seconds = draft_seconds(clock, [state.lag for state in states], [draft.decodes for draft in drafts])
        total = len(states) + sum(draft.length for draft in drafts)
        width = len(states) * (1 + k) if clock.machine.is_gpu else total
        seconds += clock.target(max(total, width), len(states), total) + clock.machine.per_step
        advance(states, drafts)
        return seconds

    return step


PLAIN = fixed("none", 0)
LENGTHS: dict[DrafterName, tuple[int, ...]] = {"model": (1, 2, 3, 5, 7, 10), "ngram": (3, 7, 15)}


def waves(kind: str, num_sequences: int) -> list[list[Text]]:
    """Which texts run together, one batch after the other: eight requests at least.

    "mixed": each batch of another kind than the one before.
    """
    if kind == "mixed":
        some = [waves(each, num_sequences) for each in MIXED]
        return [batches[place % len(batches)] for place, batches in enumerate(some)]
    pool = texts(kind)
    count = {1: 8, 4: 4, 16: 3}.get(num_sequences, 2)
    chosen = [[pool[(i + wave * 3) % 8] for i in range(num_sequences)] for wave in range(count)]
    return [[pool[wave]] for wave in range(8)] if num_sequences == 1 else chosen


def run(
    machine: Machine,
    batches: list[list[Text]],
    step: Setting,
    *,
    begin: Callable[[State], None] = lambda state: None,
    after_prompt: Callable[[], None] = lambda: None,
    seed: int = 0,
) -> float:
    """Seconds of all batches, prompts not counted."""
    clock = Clock(machine, np.random.default_rng(seed))
    for batch in batches:
        states = [State(text) for text in batch]
        for state in states:
            begin(state)
        clock.new_shape()
        after_prompt()
        while running := [state for state in states if state.left > 0]:
            clock.seconds += step(clock, running)
    return clock.seconds


def best_fixed(machine: Machine, batches: list[list[Text]]) -> tuple[float, str]:
    """Seconds of the best fixed setting, plain decoding included, and its name."""
    found = [(run(machine, batches, PLAIN), "plain")]
    for drafter, lengths in LENGTHS.items():
        found += [(run(machine, batches, fixed(drafter, k)), f"{drafter} {k}") for k in lengths]
    return min(found)


# The policy


def believed(machine: Machine, seed: int = 0) -> CostModel:
    """What calibration measures, its noise and what Python takes for each row included."""
    rng = np.random.default_rng(seed)

    def measured(points: dict[int, float], most: int, told: float = 1.0) -> dict[int, float]:
        noise = told * np.exp(machine.misjudged * rng.standard_normal(len(points)))
        return {
            n: (s + machine.per_row * (n if n <= 64 else 1)) * x
            for (n, s), x in zip(points.items(), noise, strict=True)
            if n <= most
        }

    return CostModel.from_measurements(
        measured(machine.target, 64),
        measured(machine.draft, 512, machine.draft_told),
        seconds_per_sequence=machine.per_sequence,
        switch_seconds={"target": machine.switch[0], "draft": machine.switch[1]},
    )


class Automatic:
    """The policy as the engine runs it."""

    def __init__(
        self, machine: Machine, *, drafter: DrafterName = "auto", policy: DraftLengthPolicy | None = None
    ) -> None:
        self.policy = policy or DraftLengthPolicy(believed(machine), has_draft=True)
        self.drafter = drafter
        self.reasons: dict[str, int] = {}

    def begin(self, state: State) -> None:
        state.history = DraftHistory()

    def after_prompt(self) -> None:
        self.policy.interrupt()

    def step(self, clock: Clock, states: Sequence[State]) -> float:
        if self.policy.rests(len(states)):
            return self._plain_step(clock, states)
        requests = [self._request(state) for state in states]
        plan = self.policy.choose(requests)
        drafts, confidences, peeks = self._draft(states, plan)
        starts = [state.done for state in states]
        seen: list[float] = []

        def on_decode(num_tokens: int, num_sequences: int, seconds: float) -> None:
            seen.append(clock.observed(seconds))
            self.policy.costs.observe("draft", num_tokens, num_sequences, seen[-1])

        lags = [state.lag for state in states]
        draft_s = draft_seconds(clock, lags, [draft.decodes for draft in drafts], on_decode)
        total = len(states) + sum(draft.length for draft in drafts)
        width = len(states) * (1 + plan.width)
        verify_s = clock.target(max(total, width), len(states), total) + clock.machine.per_step
        # Where the device computes by itself, the next step is decided on meanwhile.
        each, per_sequence = clock.machine.deciding
        deciding = 0.0 if clock.machine.is_gpu else each + per_sequence * len(states)
        advance(states, drafts)
        outcomes = []
        for i, (state, draft) in enumerate(zip(states, drafts, strict=True)):
            self._learn(state, starts[i])
            committed = state.done - starts[i]
            if draft.drafter == "model":
                self.policy.rates.observe_model(state.history, confidences[i], min(draft.length, committed - 1))  # type: ignore[arg-type]
                if peeks[i] is not None and committed == draft.length + 1:
                    right = state.text.is_right[starts[i] + draft.length]
                    self.policy.rates.observe_token(state.history, peeks[i], right)  # type: ignore[arg-type]
            outcomes.append(DraftOutcome(committed, draft.length, draft.decodes))
            self.reasons[plan.choices[i].reason] = self.reasons.get(plan.choices[i].reason, 0) + 1
        verify_seen = clock.observed(verify_s)
        self.policy.costs.observe("target", max(total, width), len(states), verify_seen)
        self.policy.observe(plan, outcomes, sum(seen) + verify_seen)
        return draft_s + verify_s + deciding

    def _plain_step(self, clock: Clock, states: Sequence[State]) -> float:
        starts, num = [state.done for state in states], len(states)
        seconds = PLAIN(clock, states)
        for state, start in zip(states, starts, strict=True):
            self._learn(state, start)
        seen = clock.observed(seconds)
        self.policy.costs.observe("target", num, num, seen)
        return seconds

    def _learn(self, state: State, start: int) -> None:
        learned = [one for place in range(start, state.done) for one in state.text.learned[place]]
        self.policy.rates.observe_lookup(state.history, learned)  # type: ignore[arg-type]

    def _request(self, state: State) -> DraftRequest:
        limit = min(MAX_DRAFT_LENGTH, state.left - 1)
        proposed = min(limit, state.text.proposed[state.done])
        match = state.text.match_length[state.done]
        return DraftRequest(
            state.history,  # type: ignore[arg-type]
            self.drafter,
            limit,
            proposed,
            match,
            state.lag,
            state.left,
            num_repeated=min(match, state.done),
        )

    def _draft(
        self, states: Sequence[State], plan: StepPlan
    ) -> tuple[list[Drafted], list[list[float]], list[float | None]]:
        lengths = [choice.k if choice.drafter == "ngram" else 0 for choice in plan.choices]
        decodes = [0] * len(states)
        confidences: list[list[float]] = [[] for _ in states]
        peeks: list[float | None] = [None] * len(states)
        active = [i for i, choice in enumerate(plan.choices) if choice.drafter == "model"]
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
                if take is Take.MORE and lengths[i] < plan.requests[i].limit:
                    going_on.append(i)
            active = going_on
        names = [choice.drafter for choice in plan.choices]
        return [Drafted(*each) for each in zip(names, lengths, decodes, strict=True)], confidences, peeks


def automatic(machine: Machine, batches: list[list[Text]], *, seed: int = 0, **settings: object) -> float:
    """Seconds under the policy."""
    auto = Automatic(machine, **settings)  # type: ignore[arg-type]
    return run(machine, batches, auto.step, begin=auto.begin, after_prompt=auto.after_prompt, seed=seed)
