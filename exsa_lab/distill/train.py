"""Train a draft on a target's distributions: half KL, half cross-entropy on the target's best token.

Only places where an answer goes on are learned: nobody drafts what a user writes. The draft computes with its weights
as they will be stored (`exsa_lab.distill.rounding`).
"""

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

from exsa_lab.distill.crew import Crew
from exsa_lab.distill.iq4_nl import round_output
from exsa_lab.distill.llama import Shape, Weights, compiled, hidden, output_matrix
from exsa_lab.distill.rounding import as_stored
from exsa_lab.distill.text import Texts
from exsa_lab.errors import ConfigError

KL_SHARE = 0.5
"""The rest is cross-entropy on the target's argmax, which is what greedy acceptance asks for."""
SETTLE_RATE = 0.12
"""Of the learning rate, that at which the other layers settle to a rounded output layer."""
_MOMENT_ROWS = 256
"""Texts over which the last layers are measured: some ten thousand places for a few hundred numbers each."""
_SETTLE_WARM_UP = 5
WARM_UP = 150
"""Steps until the learning rate is reached; from there it falls evenly to nothing."""
SAVE_EVERY = 300.0
"""Seconds between checkpoints."""
_COMPARE_EVERY = 10
"""Steps after which several processes agree on the time that is left: asking makes a GPU wait."""
ALONE = Crew()
_OUTPUT = "token_embd.weight"
_PLACES = 4096
"""Places whose logits are in memory at once."""


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
    """A draft in training, to be stored in the format ``to``."""

    def __init__(
        self,
        target: tuple[Shape, Weights],
        draft: tuple[Shape, Weights],
        texts: Texts,
        *,
        seed: int,
        to: str = "q8_0",
        learning_rate: float = 2.5e-3,
        rows_per_step: int = 32,
        crew: Crew = ALONE,
    ) -> None:
        self.target_shape, self.target = target
        self.shape, weights = draft
        embedding = self.target["token_embd.weight"]
        self._device, self._dtype, self._to, self._crew = embedding.device, embedding.dtype, to, crew
        self.weights = {name: value.to(self._device, torch.float32) for name, value in weights.items()}
        self._tokens = torch.from_numpy(texts.tokens).to(self._device)
        # A place is learned if the token after it is one of an answer. They are found without asking the device.
        self._learned = texts.answered[:, 1:]
        self.progress = Progress()
        self._share = 0.0
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self.packed: NDArray[np.uint8] | None = None
        """The output layer as it is stored, once `settle` rounded it."""
        self._seed, self._rate, self._per_step = seed, learning_rate, min(rows_per_step, len(texts.tokens))
        self._optimizer = self._new_optimizer(decay=0.05)

    @property
    def _free(self) -> Weights:
        """The weights that are still learned."""
        return {name: weight for name, weight in self.weights.items() if self.packed is None or name != _OUTPUT}

    def _new_optimizer(self, *, decay: float) -> torch.optim.AdamW:
        learned = list(self._free.values())
        return torch.optim.AdamW(
            [
                {"params": [w for w in learned if w.ndim > 1], "weight_decay": decay},
                {"params": [w for w in learned if w.ndim == 1], "weight_decay": 0.0},
            ],
            lr=self._rate,
            betas=(0.9, 0.95),
            fused=self._device.type == "cuda",
        )

    def run(self, budget: Budget, checkpoint: Path | None, report: Callable[[Progress, float], None]) -> None:
        """Train until the budget is used; saves to ``checkpoint`` every five minutes and at the end, also on Ctrl-C."""
        saved = time.monotonic()
        try:
            while (used := self._used(budget, self.progress.seconds, self.progress.step)) < 1:
                start = time.monotonic()
                self._step(_rate(self._rate, self.progress.step, WARM_UP, used))
                self.progress.seconds += time.monotonic() - start
                report(self.progress, used)
                if checkpoint is not None and time.monotonic() - saved > SAVE_EVERY:
                    self.save(checkpoint)
                    saved = time.monotonic()
        finally:
            if checkpoint is not None:
                self.save(checkpoint)

    def settle(self, budget: Budget, report: Callable[[Progress, float], None]) -> None:
        """Round the output layer to IQ4_NL, then train the other layers on with it as it is.

        It needs as much text as training does: on 17,500 tokens the default draft came to agree better with such text
        (0.734, rounded 0.729, settled 0.745) and worse with held-out prompts (0.695 rounded, 0.677 settled).
        """
        self.packed, values = round_output(self.weights[_OUTPUT].cpu().numpy(), self._moment())
        with torch.no_grad():
            self.weights[_OUTPUT].copy_(torch.from_numpy(values))
        self._optimizer = self._new_optimizer(decay=0.0)
        begin, first = time.monotonic(), self.progress.step
        while (used := self._used(budget, time.monotonic() - begin, done := self.progress.step - first)) < 1:
            self._step(_rate(SETTLE_RATE * self._rate, done, _SETTLE_WARM_UP, used))
            report(self.progress, used)

    def _moment(self) -> NDArray[np.float64]:
        """E[h h'] of the draft's last layers where answers go on, (width, width)."""
        total = torch.zeros(self.shape.width, self.shape.width, dtype=torch.float64, device=self._device)
        with torch.no_grad():
            weights = {name: weight.to(self._dtype) for name, weight in self.weights.items()}
            for rows in torch.arange(min(_MOMENT_ROWS, len(self._tokens))).split(self._per_step):
                inputs, places = self._inputs(rows)
                last = hidden(self.shape, weights, inputs).flatten(0, 1)[places].double()
                total += last.T @ last
        self._crew.average([total])  # each process has texts of its own
        moment: NDArray[np.float64] = (total / total.trace().clamp(min=1e-30)).cpu().numpy()
        return moment

    def _used(self, budget: Budget, seconds: float, steps: int) -> float:
        """The share of a budget that is used up, the same in every process; clocks are compared every few steps."""
        if budget.steps is not None or self._crew.size == 1:
            return budget.used(seconds, steps)
        if steps % _COMPARE_EVERY == 0:
            self._share = self._crew.by_first(lambda: budget.used(seconds, steps))
        return self._share

    def _step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        inputs, places = self._inputs(self._rows())
        with torch.no_grad():
            wanted = hidden(self.target_shape, self.target, inputs).flatten(0, 1)[places]
            rounded = {name: as_stored(weight, self._to) for name, weight in self.weights.items()}
        stored = {name: weight.to(self._dtype, copy=True).requires_grad_() for name, weight in rounded.items()}
        loss = self._backward(wanted, hidden(self.shape, stored, inputs), places, stored)
        free = self._free
        for name, weight in free.items():
            # Straight through: the gradient of what is stored moves the weight itself.
            weight.grad = _gradient(stored[name]).float()
        self._crew.average([_gradient(weight) for weight in free.values()])
        torch.nn.utils.clip_grad_norm_(list(free.values()), 1.0)
        self._optimizer.step()
        if self.progress.step % 10 == 0:
            self.progress.losses.append(_finite(loss))
        self.progress.step += 1

    def _backward(
        self, wanted: torch.Tensor, last: torch.Tensor, places: torch.Tensor, stored: Weights
    ) -> torch.Tensor:
        """Put gradients into ``stored`` and return the loss; logits exist for `_PLACES` places at a time only."""
        theirs, ours = output_matrix(self.target), output_matrix(stored)
        found, gradient_of = last.detach().flatten(0, 1), compiled(distillation_gradient, self._device, None)
        by_last, by_output = torch.zeros_like(found), torch.zeros_like(ours, dtype=torch.float32)
        loss = torch.zeros((), device=self._device)
        with torch.no_grad():
            for chunk, own in zip(places.split(_PLACES), wanted.split(_PLACES), strict=True):
                gradient, part = gradient_of(own @ theirs.T, found[chunk] @ ours.T)
                by_last[chunk] = gradient @ ours
                by_output += gradient.T @ found[chunk]
                loss += part
        count = max(1, len(places))
        torch.autograd.backward([last, ours], [by_last.view_as(last) / count, (by_output / count).to(ours.dtype)])
        return loss / count

    def _rows(self) -> torch.Tensor:
        """Return the rows of the current step; the seed gives each pass over the texts an order of its own."""
        number, place = divmod(self.progress.step, len(self._tokens) // self._per_step)
        if self._order is None or number != self._order[0]:
            self._order = number, np.random.default_rng((self._seed, number)).permutation(len(self._tokens))
        return torch.from_numpy(self._order[1][place * self._per_step : (place + 1) * self._per_step])

    def _inputs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of some rows but for each one's last, and which of these places are learned, flattened."""
        places = torch.from_numpy(self._learned[rows.numpy()].ravel().nonzero()[0])
        return self._tokens[self._sent(rows), :-1].long(), self._sent(places)

    def _sent(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers on the device, which goes on with what it was doing meanwhile."""
        return numbers.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else numbers

    def save(self, path: Path) -> None:
        """Write everything training needs to go on, all or nothing; of several processes the first one does."""
        if self._crew.rank > 0:
            return
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


def distillation_gradient(wanted: torch.Tensor, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of the summed loss by the draft's logits, and that sum.

    Both arguments are logits (places, vocabulary). The loss of a place is the cross-entropy of the draft's
    distribution against a mixture, half the target's distribution and half its best token; KL differs from it by the
    target's entropy only. Written by hand, it needs a fraction of the memory of autograd's.
    """
    p = torch.softmax(wanted.float(), -1)
    tokens = torch.arange(wanted.shape[1], device=wanted.device)
    best = tokens == wanted.argmax(-1, keepdim=True)
    mixture = KL_SHARE * p + (1 - KL_SHARE) * best
    log_q = torch.log_softmax(found.float(), -1)
    return (log_q.exp() - mixture).to(found.dtype), -(mixture * log_q).sum()


def _rate(peak: float, step: int, warm_up: int, used: float) -> float:
    """The learning rate of a step: up to ``peak`` in ``warm_up`` steps, and evenly down to nothing with the budget."""
    return peak * min(1.0, (step + 1) / warm_up) * (1 - used)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _finite(loss: torch.Tensor) -> float:
    value: float = loss.item()
    if not math.isfinite(value):
        raise ConfigError("training diverged: the loss is not a number.", hint="Try another seed or a smaller rate.")
    return value
