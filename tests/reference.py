"""Plain greedy decoding of the real target by llama.cpp alone: what every other way of decoding must reproduce.

Not one line of the engine is used, so an error there cannot hide here.
"""

from __future__ import annotations

from exsa_lab.bench.baselines.bare import BareLoop, BareRun
from exsa_lab.bench.equivalence import Divergence, divergences
from exsa_lab.bench.varied import VARIED
from exsa_lab.config import EngineConfig
from exsa_lab.models.resolve import resolve

__all__ = ["VARIED", "BareRun", "Divergence", "divergences", "reference_runs"]


def reference_runs(prompts: list[list[int]], max_tokens: int, *, target: str = "smollm2-135m") -> list[BareRun]:
    """Continue each prompt (token ids) greedily; the runs hold tokens and the top-2 logit margin at each place."""
    from exsa_lab.hardware import detect

    with BareLoop(resolve(target).path, EngineConfig(n_seq_max=1), detect().usable_threads) as loop:
        return [loop.generate(prompt, max_tokens, with_margins=True) for prompt in prompts]
