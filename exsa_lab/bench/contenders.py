"""Everyone who can speculate, behind one face: exsa_lab with each setting, and the peers."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Protocol

from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.baselines.xllama import SPECULATION, XllamaServer, is_installed
from exsa_lab.bench.setting import Subject, chat_tokens
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.stats import Stats

PLAIN, AUTO = "plain", "auto"
PLAIN_AND_AUTO: dict[str, dict[str, Any]] = {PLAIN: {"draft_length": 0}, AUTO: {}}
"""Generation parameters of the two that are compared most."""
N_SLOTS = 8
LOOKUP_TOKENS = 10
"""LlamaPromptLookupDecoding's own default."""


class Contender(Protocol):
    """Generates for prompts one after the other, and, where it can, all at once."""

    is_peer: bool
    can_batch: bool

    def in_turn(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        """Return tokens per second of decoding, prefill not counted."""

    def at_once(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        """Return tokens per second from the first request to the last answer, reading the prompts included."""


class EngineSetting:
    """exsa_lab with fixed generation parameters."""

    is_peer = False
    can_batch = True

    def __init__(self, engine: Engine, **params: Any) -> None:
        self._engine = engine
        self._params = params

    def in_turn(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        tokens, seconds = 0, 0.0
        for prompt in prompts:
            stats = self._engine.generate(
                prompt, max_tokens=max_tokens, temperature=temperature, seed=seed, **self._params
            ).stats
            tokens += stats.generated_tokens - 1
            seconds += stats.decode_s
        return tokens / seconds if seconds else 0.0

    def at_once(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        begin = time.perf_counter()
        stats = self._finished(prompts, max_tokens, temperature, seed)
        seconds = time.perf_counter() - begin
        return sum(one.generated_tokens for one in stats) / seconds

    def together(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        """Return tokens per second while all of them run: the mean speed of a request, prompts included, times many.

        Which texts end early differs with rounding on a GPU, and they would leave the others alone.
        """
        stats = self._finished(prompts, max_tokens, temperature, seed)
        seconds = sum(one.ttft_s + one.decode_s for one in stats)
        return len(stats) * sum(one.generated_tokens for one in stats) / seconds

    def submit(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> list[Generation]:
        """Submit all of them and wait for none."""
        return [
            self._engine.submit(prompt, max_tokens=max_tokens, temperature=temperature, seed=seed, **self._params)
            for prompt in prompts
        ]

    def _finished(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> list[Stats]:
        generations = self.submit(prompts, max_tokens, temperature, seed)
        for generation in generations:
            generation.result()
        return [generation.stats for generation in generations]


class Peer:
    """A peer on the same file; ``engine`` only makes the tokens."""

    is_peer = True

    def __init__(self, engine: Engine, peer: HighLevelLlama | XllamaServer) -> None:
        self._engine = engine
        self._peer = peer
        self.can_batch = isinstance(peer, XllamaServer)

    def in_turn(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        runs = [
            self._peer.complete(chat_tokens(self._engine, prompt), max_tokens, temperature=temperature, seed=seed)
            for prompt in prompts
        ]
        seconds = sum(run.decode_s for run in runs)
        return sum(run.num_tokens - 1 for run in runs) / seconds if seconds else 0.0

    def at_once(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        assert isinstance(self._peer, XllamaServer)
        tokens = [chat_tokens(self._engine, prompt) for prompt in prompts]
        runs, seconds = self._peer.complete_all(tokens, max_tokens, temperature=temperature)
        return sum(run.num_tokens for run in runs) / seconds


def engine_settings(engine: Engine, model_lengths: range, ngram_lengths: tuple[int, ...]) -> dict[str, Contender]:
    """Plain, automatic and every fixed draft length of both drafters, by name."""
    found: dict[str, Contender] = {name: EngineSetting(engine, **given) for name, given in PLAIN_AND_AUTO.items()}
    if engine.draft is not None:
        found |= {f"model, k={k}": EngineSetting(engine, drafter="model", draft_length=k) for k in model_lengths}
    return found | {f"ngram, k={k}": EngineSetting(engine, drafter="ngram", draft_length=k) for k in ngram_lengths}


def peers(subject: Subject, engine: Engine, stack: ExitStack) -> dict[str, Contender]:
    """Every peer with every way of speculating it has for this pair, opened and to be closed by ``stack``."""
    arguments = (subject.path, subject.config, subject.n_threads)
    found: dict[str, Contender] = {
        "Llama, prompt lookup": Peer(engine, stack.enter_context(HighLevelLlama(*arguments, lookup=LOOKUP_TOKENS)))
    }
    kinds = [None, *SPECULATION] if is_installed() else []
    for kind in kinds:
        if kind == "draft" and subject.draft is None:
            continue
        server = XllamaServer(*arguments, n_slots=N_SLOTS, speculation=kind, draft=subject.draft)
        found[f"xllamacpp, {kind or 'plain'}"] = Peer(engine, stack.enter_context(server))
    return found
