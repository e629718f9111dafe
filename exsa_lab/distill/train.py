"""Train a draft on a target's distributions: 0.7 KL + 0.3 cross-entropy on the target's best token."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exsa_lab.distill.llama import Shape, Weights, logits
from exsa_lab.errors import ConfigError

KL_SHARE = 0.7
"""The rest is cross-entropy on the target's argmax, which is what greedy acceptance asks for."""
WARM_UP = 100
DECAY_SHARE = 0.3
"""The learning rate falls to nothing over this last share of the budget."""
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Budget:
    """How long training goes on: by seconds, or, where ``steps`` is given, by steps, which a seed repeats exactly."""

    seconds: float
    steps: int | None = None

    def used(self, seconds: float, steps: int) -> float:
        """Return the share that is used up, 0..1."""
        share = steps / self.steps if self.steps else seconds / self.seconds
        return min(1.0, share)


@dataclass(slots=True)
class Progress:
    """Where training stands."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    """One for every tenth step: cross-entropy against the mixture that is learned."""


class Trainer:
    """A draft in training. ``rows`` are texts (count, length); a repeated end token at their end is not learned."""

    def __init__(
        self,
        target: tuple[Shape, Weights],
        draft: tuple[Shape, Weights],
        rows: NDArray[np.int32],
        *,
        seed: int,
        learning_rate: float = 3e-3,
        rows_per_step: int = 32,
    ) -> None:
        self.target_shape, self.target = target
        self.shape, weights = draft
        embedding = self.target["token_embd.weight"]
        self._dtype = embedding.dtype
        self.weights = {name: value.to(embedding.device).requires_grad_() for name, value in weights.items()}
        self.rows = torch.from_numpy(rows.astype(np.int64))
        self.progress = Progress()
        self._seed, self._rate, self._per_step = seed, learning_rate, min(rows_per_step, len(rows))
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in self.weights.values() if w.ndim > 1], "weight_decay": 0.05},
                {"params": [w for w in self.weights.values() if w.ndim == 1], "weight_decay": 0.0},
            ],
            lr=learning_rate,
            betas=(0.9, 0.95),
        )

    def run(self, budget: Budget, checkpoint: Path | None, report: Callable[[Progress, float], None]) -> None:
        """Train until the budget is used; saves to ``checkpoint`` every minute and at the end, also on Ctrl-C."""
        saved = time.monotonic()
        try:
            while (used := budget.used(self.progress.seconds, self.progress.step)) < 1:
                start = time.monotonic()
                self._step(used)
                self.progress.seconds += time.monotonic() - start
                report(self.progress, used)
                if checkpoint is not None and time.monotonic() - saved > 60:
                    self.save(checkpoint)
                    saved = time.monotonic()
        finally:
            if checkpoint is not None:
                self.save(checkpoint)

    def _step(self, used: float) -> None:
        rate = self._rate * min(1.0, (self.progress.step + 1) / WARM_UP) * max(0.02, min(1.0, (1 - used) / DECAY_SHARE))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batch = self._batch().to(self.target["token_embd.weight"].device)
        inputs, learned = batch[:, :-1], _is_learned(batch)
        with torch.no_grad():
            wanted = logits(self.target_shape, self.target, inputs)[learned]
        cast = {name: weight.to(self._dtype) for name, weight in self.weights.items()}
        found = logits(self.shape, cast, inputs)[learned]
        gradient, loss = distillation_gradient(wanted, found.detach())
        self._optimizer.zero_grad(set_to_none=True)
        found.backward(gradient)
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self._optimizer.step()
        if self.progress.step % 10 == 0:
            self.progress.losses.append(loss)
        self.progress.step += 1

    def _batch(self) -> torch.Tensor:
        """Return the rows of the current step; the seed gives each pass over the texts an order of its own."""
        per_pass = len(self.rows) // self._per_step
        number, place = divmod(self.progress.step, per_pass)
        order = np.random.default_rng((self._seed, number)).permutation(len(self.rows))
        return self.rows[order[place * self._per_step : (place + 1) * self._per_step]]

    def save(self, path: Path) -> None:
        """Write everything training needs to go on, all or nothing."""
        unfinished = path.with_suffix(".tmp")
        state = {
            "weights": {name: weight.detach().cpu() for name, weight in self.weights.items()},
            "optimizer": self._optimizer.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "losses": self.progress.losses,
        }
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; raises ConfigError where it is of another draft."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        shapes = {name: weight.shape for name, weight in self.weights.items()}
        if {name: weight.shape for name, weight in state["weights"].items()} != shapes:
            raise ConfigError(f"{path} is a checkpoint of a draft of another size.", hint="Delete it to start again.")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(state["step"], state["seconds"], state["losses"])


def distillation_gradient(wanted: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the gradient of the loss by the draft's logits, and the loss.

    Both are logits (places, vocabulary). The loss is the cross-entropy of the draft's distribution against 0.7 times
    the target's plus 0.3 at the target's best token; KL differs from it by the target's entropy only. Written by
    hand and in pieces, it needs a fraction of the memory of autograd's.
    """
    gradient, loss = torch.empty_like(found), 0.0
    for start in range(0, len(found), _ROWS):
        p = torch.softmax(wanted[start : start + _ROWS].float(), -1)
        best = p.argmax(-1, keepdim=True)
        mixture = (p * KL_SHARE).scatter_add_(1, best, torch.full_like(best, 1 - KL_SHARE, dtype=p.dtype))
        log_q = torch.log_softmax(found[start : start + _ROWS].float(), -1)
        loss -= float((mixture * log_q).sum())
        gradient[start : start + _ROWS] = ((log_q.exp() - mixture) / len(found)).to(gradient.dtype)
    if not math.isfinite(loss):
        raise ConfigError("training diverged: the loss is not a number.", hint="Try another seed or a smaller rate.")
    return gradient, loss / max(1, len(found))


def _is_learned(batch: torch.Tensor) -> torch.Tensor:
    """Return which inputs are learned from: all but the end token that fills a row after its end."""
    same = batch == batch[:, -1:]
    filling = same.flip(1).cumprod(1).flip(1).bool()
    # The first token of the filling is the text's own end, and the place before it predicts it.
    return ~(filling[:, :-1] & filling[:, 1:])
