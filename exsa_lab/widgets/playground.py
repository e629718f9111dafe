"""The playground: a text one token at a time, with what both models think at each place and what the chain makes of it.

The kernel reads; the page computes. For each place the page gets both models' logits in short
(`exsa_lab.trace.condensed`), so sliders need no further pass. Places are read where they are first looked at, and the
latest are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets

from exsa_lab.config import SamplingParams, whole
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import ConfigError, EngineClosed
from exsa_lab.events import Source, TokenEvent
from exsa_lab.loading import get_engine
from exsa_lab.prompts.encode import encode_prompt
from exsa_lab.prompts.messages import Message, own_prompt
from exsa_lab.prompts.preview import shown_prompt
from exsa_lab.runtime.protocol import Model
from exsa_lab.speculation.rejection_sampling import residual
from exsa_lab.speculation.sampling import Distribution, Row, Softmax, apply_chain
from exsa_lab.trace.condensed import condense
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.play_static import static_html, static_text
from exsa_lab.widgets.play_tree import ROOT, Tree
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.scripts import read_script, read_styles

MAX_PLACES = 16
"""Places whose logits are kept; going back to an older one reads it again."""
MAX_FORCED = 64
PROMPT_CHARS = 600
CHAIN = ("temperature", "top_k", "top_p", "min_p")


class Playground(LiveWidget):
    """One token at a time: p before and after the chain, q beside it, and you choose what comes next.

    Example::

        play = Playground("Write a line about the sea.")
        play                      # in a cell: click a token, move a slider
        play.choose(" waves"); play.force(" break"); play.back(2)
        play.p(), play.q()        # the distributions shown
    """

    _esm = read_script("play.js")
    _css = read_styles("slider.css", "play.css")

    prompt_text = traitlets.Unicode().tag(sync=True)
    """The end of the prompt as it is sent."""
    tree = traitlets.List().tag(sync=True)
    """``[id, parent, token, text, bits]`` of every token tried; see `play_tree`."""
    at = traitlets.Int(ROOT).tag(sync=True)
    """The token after which one looks; `ROOT` is the end of the prompt."""
    tip = traitlets.Int(ROOT).tag(sync=True)
    """The end of the branch one is on."""
    places = traitlets.Dict().tag(sync=True)
    """By id: what comes next there."""
    said = traitlets.Unicode().tag(sync=True)
    """What the last draw did, in words."""
    vocab_size = traitlets.Int().tag(sync=True)

    temperature = traitlets.Float(1.0, min=0.0, max=100.0).tag(sync=True)
    top_k = traitlets.Int(0, min=0).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    min_p = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)

    def __init__(
        self, prompt: str | list[Message], engine: Engine | None = None, *, seed: int | None = None, **params: Any
    ) -> None:
        self._engine = engine = engine or get_engine()
        checked = SamplingParams.from_kwargs(**{"temperature": 1.0, **params})
        _check_chain(params)
        encoded = encode_prompt(engine.target, own_prompt(prompt, chat=checked.chat), checked, engine.config.n_ctx)
        self._prompt_ids = encoded.tokens
        self._nodes = Tree()
        self._bytes: dict[int, bytes] = {}
        self._labels: dict[int, str] = {}
        self._rows: dict[int, tuple[Row, Row | None]] = {}
        self._random = np.random.default_rng(seed)
        super().__init__(
            prompt_text=visible(shown_prompt(engine.target, encoded.tokens)[-PROMPT_CHARS:]),
            vocab_size=engine.target.vocab_size,
            **{name: getattr(checked, name) for name in CHAIN},
        )
        self._go(ROOT)
        self.observe(self._looked_elsewhere, ["at"])
        self.observe(lambda _: self.publish(), ["at", "tip", *CHAIN])

    # What one sees

    @property
    def tokens(self) -> list[int]:
        """The tokens from the prompt to where one looks."""
        return self._nodes.tokens(self.at)

    @property
    def text(self) -> str:
        """Their text."""
        return b"".join(self._bytes[token] for token in self.tokens).decode("utf-8", "replace")

    @property
    def bits(self) -> list[float]:
        """The surprisal of each of them: -log2 of the target's own probability, at temperature 1 with nothing cut."""
        return [self._nodes.bits[node] for node in self._nodes.path(self.at)]

    def p(self) -> Distribution:
        """What the target would draw the next token from, after the chain as the sliders have it."""
        return apply_chain(self._rows[self.at][0], self._chain)

    def q(self) -> Distribution:
        """What the draft would draw it from; raises ConfigError where there is no draft."""
        row = self._rows[self.at][1]
        if row is None:
            raise ConfigError("there is no draft model.", hint='Load one: xl.load(draft="auto").')
        return apply_chain(row, self._chain)

    @property
    def _chain(self) -> SamplingParams:
        return SamplingParams(**{name: getattr(self, name) for name in CHAIN})

    # What one does

    def choose(self, token: int | str) -> None:
        """Go on with this token, given by its id or its exact text; another one than before begins a branch."""
        self._append([self._one_token(token)])

    def force(self, text: str) -> None:
        """Go on with the tokens of a text; it never becomes a control token.

        Raises ConfigError where it is empty or has more than 64 tokens.
        """
        if not isinstance(text, str) or not text:
            raise ConfigError("there is no text to go on with.", hint='Such as play.force(" and then").')
        tokens = self._target.tokenize(text, add_special=False, parse_special=False)
        if len(tokens) > MAX_FORCED:
            raise ConfigError(f"this text has {len(tokens)} tokens.", hint=f"Give at most {MAX_FORCED} at once.")
        self._append(tokens)

    def back(self, count: int = 1) -> None:
        """Look at the place so many tokens before; nothing is forgotten."""
        path = [ROOT, *self._nodes.path(self.at)]
        self._go(path[max(0, len(path) - 1 - whole("count", count, 0, 1_000_000))])

    def draw(self) -> int:
        """Draw the next token from p and go on with it; returns its id."""
        u = float(self._random.random())
        token = self.p().sample(u)
        self._append([token])
        self.said = f"u = {u:.3f} draws {self._quote(token)} from p."  # once it is there: the page may go on then
        return token

    def propose(self) -> bool:
        """Let the draft draw a token, test it, and go on with it or with one from the residual; True where it stood."""
        p, q = self.p(), self.q()
        u_draft, u_accept, u_sample = (float(number) for number in self._random.random(3))
        token = q.sample(u_draft)
        ratio = min(1.0, p.probability(token) / q.probability(token))
        proposed = f"The draft draws {self._quote(token)} from q; u = {u_accept:.3f}, p/q = {ratio:.3f}"
        if stands := u_accept < ratio:
            said = f"{proposed}: accepted."
        else:
            token = residual(p, q).sample(u_sample)
            said = f"{proposed}: refused. {self._quote(token)} is drawn from what p has in excess of q."
        self._append([token])
        self.said = said
        return stands

    def _one_token(self, token: int | str) -> int:
        if not isinstance(token, str):
            return whole("token", token, 0, self.vocab_size - 1)
        found = self._target.tokenize(token, add_special=False, parse_special=False)
        if len(found) != 1:
            raise ConfigError(f"{token!r} is {len(found)} tokens.", hint="Use force for a text of several.")
        return found[0]

    def _quote(self, token: int) -> str:
        return f"“{self._label(token)}”"

    # Reading

    @property
    def _target(self) -> Model:
        """The model, as long as it is there: what is shown must outlive it."""
        if self._engine.state is not EngineState.OPEN:
            raise EngineClosed("the engine of this playground is closed.", hint="Call xl.play again.")
        return self._engine.target

    def _label(self, token: int) -> str:
        if token not in self._labels:
            self._labels[token] = visible(self._target.token_label(token))
        return self._labels[token]

    def _append(self, tokens: Sequence[int]) -> None:
        """Go on from here, reading what is new in one pass."""
        node, new = self._nodes.follow(self.at, tokens)
        if new:
            rows = self._read(self._nodes.tokens(node), new)
            for (target, _), token in zip(rows, new, strict=False):
                bits = -math.log2(max(1e-300, Softmax(target).probability(token)))
                self._bytes[token] = self._target.token_bytes(token)
                node = self._nodes.add(node, token, self._label(token), bits)
            self._keep(node, *rows[-1])
        self._go(node)

    def _go(self, node: int) -> None:
        if node not in self._rows:
            self._keep(node, *self._read(self._nodes.tokens(node), [])[-1])
        with self.hold_sync():
            self.tree = self._nodes.as_json()
            self.places = {str(kept): self._as_page_data(kept) for kept in self._rows}
            if not self._nodes.is_on_path(node, self.tip):
                self.tip = node
            self.at = node

    def _read(self, before: Sequence[int], tokens: Sequence[int]) -> list[tuple[Row, Row | None]]:
        """Both models' logits before each of ``tokens`` and after the last."""
        unknown = 0  # positions are those before a token, so one stands where the next will be
        events = [
            TokenEvent(place, token, "", Source.TARGET, None, None, None, place)
            for place, token in enumerate([*tokens, unknown])
        ]
        names = self._engine.model_names
        trace = Trace(list(events), models=names, prompt_ids=[*self._prompt_ids, *before])
        places = self._engine.positions(trace)
        return [
            (places.target[n].copy(), None if places.draft is None else places.draft[n].copy())
            for n in range(len(events))
        ]

    def _keep(self, node: int, target: Row, draft: Row | None) -> None:
        self._rows[node] = (target, draft)
        while len(self._rows) > MAX_PLACES:
            del self._rows[next(iter(self._rows))]

    def _as_page_data(self, node: int) -> dict[str, Any]:
        if str(node) in self.places:
            place: dict[str, Any] = self.places[str(node)]
            if all(child in place["ids"] for child in self._nodes.next_tokens(node)):
                return place
        found = condense(*self._rows[node], also=tuple(self._nodes.next_tokens(node)))
        return {**found.as_json(), "labels": [self._label(token) for token in found.ids.tolist()]}

    # The page

    def answer(self, content: Any) -> None:
        """Do what was asked for in the page."""
        actions: dict[str, Callable[[Any], object]] = {
            "choose": self.choose,
            "force": self.force,
            "draw": lambda _: self.draw(),
            "propose": lambda _: self.propose(),
        }
        if isinstance(content, dict) and content.get("type") in actions and content.get("at") in self._nodes:
            self.problem = self.said = ""
            if content["at"] != self.at:
                self._go(content["at"])
            actions[content["type"]](content.get("value"))

    def _looked_elsewhere(self, change: Any) -> None:
        """The page went to another place of the text; where it cannot be read one stays."""
        if self.at not in self._nodes:
            self.at = ROOT
        elif str(self.at) not in self.places or not self._nodes.is_on_path(self.at, self.tip):
            try:
                self._go(self.at)
            except Exception as error:
                self.at = change["old"]
                self.report(error, "This place could not be read.")

    def static(self) -> tuple[str, str]:
        """Return text, surprisal and distributions as HTML and as text."""
        own = apply_chain(self._rows[self.at][0], SamplingParams(temperature=1.0))
        q = self.q() if self._rows[self.at][1] is not None else None
        path = [(self._nodes.text[node], self._nodes.bits[node]) for node in self._nodes.path(self.at)]
        chain = ", ".join(f"{name} {getattr(self, name):g}" for name in CHAIN)
        views = (self.prompt_text, path, own, self.p(), q, chain, self._label)
        return static_html(*views), static_text(*views)


def play(prompt: str | list[Message], engine: Engine | None = None, **params: Any) -> Playground:
    """Return the playground on a prompt: a text one token at a time, of which you choose each.

    Shown are the target's own probabilities, p after the chain (temperature, top-k, top-p, min-p: sliders), the draft's
    q beside it, and what part of them is accepted. ``params`` are generation parameters of the prompt (``system``,
    ``chat``) and the chain to begin with (temperature 1 unless given), and a ``seed`` for what is drawn; ``engine`` is
    by default the kernel's.
    Raises EngineNotLoaded, ConfigError, PromptTooLong.

    Example: ``xl.play("Write a line about the sea.", top_p=0.9)``.
    """
    return Playground(prompt, engine, **params)


_SHAPING = {
    "choice",
    "frequency_penalty",
    "grammar",
    "logit_bias",
    "presence_penalty",
    "regex",
    "repeat_penalty",
    "response_format",
    "suppress_tokens",
}
"""Parameters that change logits before the chain, which is all that is shown."""


def _check_chain(params: dict[str, Any]) -> None:
    if shaping := _SHAPING & params.keys():
        raise ConfigError(f"{min(shaping)} is not shown here.", hint=f"The chain is {', '.join(CHAIN)}.")
