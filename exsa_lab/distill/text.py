"""Text written by a target: batches of rows, each beginning with a prompt and going on by itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exsa_lab.distill.llama import Shape, Weights, compiled, empty_cache, logits
from exsa_lab.distill.prompts import INVENTED, OPENING, RAW, TrainingPrompt
from exsa_lab.errors import ConfigError
from exsa_lab.prompts.conversation import render_conversation
from exsa_lab.runtime.protocol import Model

TEMPERATURES = (0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.9)
"""Greedy is over-represented: its acceptance is what people see most."""
_USER_TEMPERATURE = 1.0
_CUT_USER, _CUT_ANSWER = -math.log(0.01), -math.log(0.02)
"""Tokens are drawn among those at least 0.01 or 0.02 times as probable as the best (min-p)."""
_MARK = "EXSAMARKEXSA"


@dataclass(frozen=True, slots=True)
class Texts:
    """What a target wrote: ``tokens`` (rows, length), and which of them it wrote as answers (``answered``, alike)."""

    tokens: NDArray[np.int32]
    answered: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write both to an ``.npz`` file, all or nothing."""
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            np.savez(file, tokens=self.tokens, answered=self.answered)
        os.replace(unfinished, path)

    def without(self, beginnings: Sequence[Sequence[int]]) -> Texts:
        """Return the rows that begin with none of these tokens."""
        keep = np.ones(len(self.tokens), bool)
        for tokens in beginnings:
            keep &= (self.tokens[:, : len(tokens)] != np.array(tokens[: self.tokens.shape[1]])).any(1)
        return Texts(self.tokens[keep], self.answered[keep])

    @classmethod
    def load(cls, path: Path) -> Texts:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["answered"])

    @classmethod
    def join(cls, parts: Sequence[Texts]) -> Texts:
        """Return the rows of all parts."""
        return cls(np.concatenate([p.tokens for p in parts]), np.concatenate([p.answered for p in parts]))


@dataclass(frozen=True, slots=True)
class Start:
    """The tokens one row begins with; a user's turn still open is finished by the target."""

    tokens: list[int]
    in_user_turn: bool


class ChatFrame:
    """What a chat template writes around the turns, found by rendering some."""

    def __init__(self, model: Model) -> None:
        self._model = model
        user, assistant = {"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}
        pieces = render_conversation(model, [user], {}).text.split(_MARK)
        if len(pieces) != 2:
            raise ConfigError("the chat template does not show the user's message once, so no text can be written.")
        self._before, self._after = pieces
        self.to_answer = self._tokens(self._after)
        """From the end of a user's turn to the beginning of the answer."""
        turns = render_conversation(model, [user, assistant, user], {}).text.split(_MARK)
        self.to_user = self._tokens(turns[2]) if len(turns) == 4 else []
        """From the end of an answer to the next user's turn; empty where the template does not show a second one."""

    def start(self, prompt: TrainingPrompt) -> Start:
        """Return the tokens of a prompt."""
        if prompt.kind == RAW:
            return Start(self._tokens(prompt.text), False)
        if prompt.kind in (OPENING, INVENTED):
            return Start(self._tokens(self._before + prompt.text), True)
        return Start(self._tokens(self._before + prompt.text + self._after), False)

    def _tokens(self, text: str) -> list[int]:
        return self._model.tokenize(text, add_special=False, parse_special=True)


def write_texts(
    shape: Shape,
    weights: Weights,
    frame: ChatFrame,
    starts: Sequence[Start],
    is_end: NDArray[np.bool_],
    length: int,
    seed: int,
) -> Texts:
    """Return len(starts) rows of text; temperatures are drawn from `TEMPERATURES`, one for each row.

    A user's turn that ends is followed by the answer's beginning, and an answer by the next user's turn. Where the
    template has no second turn the row is filled with the end token.
    """
    embedding = weights["token_embd.weight"]
    device = embedding.device
    chance = torch.Generator(device).manual_seed(seed)
    draw = torch.randint(len(TEMPERATURES), (len(starts),), generator=chance, device=device)
    rows = _Rows(starts, frame, is_end, length)
    temperatures = torch.tensor(TEMPERATURES, device=device)[draw]
    cache = empty_cache(shape, len(starts), length, embedding)
    sample = compiled(_sample, device)
    noise = torch.empty(len(starts), shape.vocabulary, device=device)
    for place in range(length - 1):
        column = torch.from_numpy(rows.tokens[:, place : place + 1].astype(np.int64)).to(device)
        user = torch.from_numpy(rows.in_user_turn).to(device)
        with torch.no_grad():
            row_logits = logits(shape, weights, column, cache)[:, -1]
            chosen = sample(row_logits, noise.exponential_(generator=chance), temperatures, user)
        rows.extend(place + 1, chosen.cpu().numpy())
        if rows.finished.all():
            break
    return Texts(rows.tokens, rows.answered)


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

    def __init__(self, starts: Sequence[Start], frame: ChatFrame, is_end: NDArray[np.bool_], length: int) -> None:
        self.tokens = np.zeros((len(starts), length), np.int32)
        self.answered = np.zeros((len(starts), length), bool)
        self.in_user_turn = np.array([start.in_user_turn for start in starts])
        self.finished = np.zeros(len(starts), bool)
        self._forced = np.full((len(starts), length), -1, np.int32)
        for forced, start in zip(self._forced, starts, strict=True):
            forced[: len(start.tokens)] = start.tokens[:length]
        self.tokens[:, 0] = self._forced[:, 0]
        self._to_answer, self._to_user, self._is_end = frame.to_answer, frame.to_user, is_end

    def extend(self, place: int, sampled: NDArray[np.int64]) -> None:
        """Set the tokens of one place from those sampled for it."""
        forced = self._forced[:, place]
        free = (forced < 0) & ~self.finished
        self.answered[:, place] = free & ~self.in_user_turn
        ended = free & self._is_end[sampled]
        for row in np.flatnonzero(ended).tolist():
            self._turn(row, place)
        chosen = np.where(forced >= 0, forced, sampled)
        self.tokens[:, place] = np.where(self.finished & ~ended, self.tokens[:, place - 1], chosen)

    def _turn(self, row: int, place: int) -> None:
        following = self._to_answer if self.in_user_turn[row] else self._to_user
        if following:
            self._forced[row, place : place + len(following)] = following[: self.tokens.shape[1] - place]
            self.in_user_turn[row] = not self.in_user_turn[row]
        else:
            self.finished[row] = True


def _sample(rows: torch.Tensor, noise: torch.Tensor, temperatures: torch.Tensor, user: torch.Tensor) -> torch.Tensor:
    scale = torch.where(user, _USER_TEMPERATURE, temperatures)[:, None]
    cut = torch.where(user, _CUT_USER, _CUT_ANSWER)[:, None]
    scaled = rows.float() / scale.clamp(min=1e-4)
    scaled = scaled.masked_fill(scaled < scaled.amax(-1, keepdim=True) - cut, float("-inf"))
    # The largest of logits minus the logarithms of exponential draws is a sample (the Gumbel trick).
    return (scaled - noise.log()).argmax(-1)
