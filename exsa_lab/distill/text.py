"""Text written by a target: batches of rows, each beginning with a prompt and going on by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from exsa_lab.distill.llama import Shape, Weights, empty_cache, logits
from exsa_lab.distill.prompts import INVENTED, OPENING, RAW, TrainingPrompt
from exsa_lab.errors import ConfigError

TEMPERATURES = (0.0, 0.0, 0.0, 0.0, 0.4, 0.8, 1.0)
"""Greedy is over-represented: its acceptance is what people see most."""
_USER_TEMPERATURE = 1.0
_MIN_P_USER, _MIN_P_ANSWER = 0.01, 0.02
_MARK = "EXSAMARKEXSA"


class Tokenizer(Protocol):
    """What is needed of a model to write its prompts; `exsa_lab.runtime.model.LlamaModel` has it."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def render_chat(self, messages: list[dict[str, str]]) -> str: ...

    def is_end(self, token: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Start:
    """The tokens one row begins with; a user's turn still open is finished by the target."""

    tokens: list[int]
    in_user_turn: bool


class ChatFrame:
    """What a chat template writes around a user's turn, found by rendering one."""

    def __init__(self, model: Tokenizer) -> None:
        text = model.render_chat([{"role": "user", "content": _MARK}])
        before, mark, after = text.partition(_MARK)
        if not mark or _MARK in after:
            raise ConfigError("the chat template does not show the user's message once, so no text can be written.")
        self._model = model
        self._before, self._after = before, after
        self.to_answer = self._tokens(after)
        """From the end of a user's turn to the beginning of the answer."""

    def start(self, prompt: TrainingPrompt) -> Start:
        """Return the tokens of a prompt."""
        if prompt.kind == RAW:
            return Start(self._tokens(prompt.text), False)
        if prompt.kind in (OPENING, INVENTED):
            return Start(self._tokens(self._before + prompt.text), True)
        return Start(self._tokens(self._before + prompt.text + self._after), False)

    def _tokens(self, text: str) -> list[int]:
        return self._model.tokenize(text, add_special=False, parse_special=True)


def write(
    shape: Shape,
    weights: Weights,
    frame: ChatFrame,
    starts: Sequence[Start],
    is_end: NDArray[np.bool_],
    length: int,
    seed: int,
) -> NDArray[np.int32]:
    """Return rows (len(starts), length) of text; temperatures are drawn from `TEMPERATURES`, one for each row.

    A user's turn that ends is followed by the answer's beginning; after an answer's end the row is filled with the
    end token, whose places `exsa_lab.distill.train` does not learn from.
    """
    device = weights["token_embd.weight"].device
    chance = torch.Generator(device).manual_seed(seed)
    draw = torch.randint(len(TEMPERATURES), (len(starts),), generator=chance, device=device)
    rows = _Rows(starts, frame.to_answer, is_end, length)
    temperatures = torch.tensor(TEMPERATURES, device=device)[draw]
    cache = empty_cache(shape, len(starts), length, weights["token_embd.weight"])
    for place in range(length - 1):
        column = torch.from_numpy(rows.tokens[:, place : place + 1].astype(np.int64)).to(device)
        with torch.no_grad():
            row_logits = logits(shape, weights, column, cache)[:, -1].float()
        user = torch.from_numpy(rows.in_user_turn).to(device)
        chosen = _sample(row_logits, temperatures, user, chance)
        rows.extend(place + 1, chosen.cpu().numpy())
        if rows.finished.all():
            break
    return rows.tokens


def starts(prompts: Iterator[TrainingPrompt], frame: ChatFrame, count: int, longest: int) -> list[Start]:
    """Return the next ``count`` prompts that leave room for an answer."""
    found: list[Start] = []
    for prompt in islice(prompts, 100 * count):
        start = frame.start(prompt)
        if 0 < len(start.tokens) <= longest:
            found.append(start)
        if len(found) == count:
            return found
    raise ConfigError(f"the prompts are longer than {longest} tokens.", hint="Ask for longer texts.")


class _Rows:
    """The texts while they grow: forced tokens where a prompt or the template has them, sampled ones elsewhere."""

    def __init__(self, starts: Sequence[Start], to_answer: list[int], is_end: NDArray[np.bool_], length: int) -> None:
        self.tokens = np.zeros((len(starts), length), np.int32)
        self._ahead = [list(start.tokens[1:]) for start in starts]
        self.in_user_turn = np.array([start.in_user_turn for start in starts])
        self.finished = np.zeros(len(starts), bool)
        self._to_answer, self._is_end = to_answer, is_end
        self.tokens[:, 0] = [start.tokens[0] for start in starts]

    def extend(self, place: int, sampled: NDArray[np.int64]) -> None:
        for row, token in enumerate(sampled):
            ahead = self._ahead[row]
            if self.finished[row]:
                token = self.tokens[row, place - 1]
            elif ahead:
                token = ahead.pop(0)
            elif self._is_end[token] and self.in_user_turn[row]:
                self._ahead[row] = list(self._to_answer)
                token = self._ahead[row].pop(0) if self._ahead[row] else token
                self.in_user_turn[row] = False
            elif self._is_end[token]:
                self.finished[row] = True
            self.tokens[row, place] = token


def _sample(
    rows: torch.Tensor, temperatures: torch.Tensor, user: torch.Tensor, chance: torch.Generator
) -> torch.Tensor:
    scale = torch.where(user, _USER_TEMPERATURE, temperatures)[:, None]
    cut = torch.where(user, -np.log(_MIN_P_USER), -np.log(_MIN_P_ANSWER))[:, None]
    scaled = rows / scale.clamp(min=1e-4)
    scaled = scaled.masked_fill(scaled < scaled.amax(-1, keepdim=True) - cut, float("-inf"))
    # The largest of logits minus the logarithms of exponential draws is a sample (the Gumbel trick).
    noise = torch.empty_like(scaled).exponential_(generator=chance).log()
    return (scaled - noise).argmax(-1)
