"""The handle of one submitted prompt: what users hold while the engine works."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from exsa_lab.awaiting import stream_events, wait_for
from exsa_lab.checks import patience
from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.stats import EngineView, Stats
from exsa_lab.errors import LOAD_AGAIN, ConfigError, EngineFailed, ExsaError, GenerationCancelled, IncompleteForm
from exsa_lab.events import Event, PromptTokenEvent, State, StateEvent, TokenEvent
from exsa_lab.listening import Listener, Subscription
from exsa_lab.prompts.encode import Continuation
from exsa_lab.prompts.messages import Message
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.prompts.tool_calls import as_messages, read_calls
from exsa_lab.prompts.tool_format import ToolFormat
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.parse import parse_form
from exsa_lab.trace.positions import Positions
from exsa_lab.trace.trace import Trace

_Callback = TypeVar("_Callback")
_UNFINISHED = "the text ends inside the thought: raise max_tokens, go on with .more(), or set reasoning_budget"


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """What the generations of one engine get from it."""

    engine: EngineView
    config: EngineConfig
    model_names: dict[str, str | None]
    """Names of target and draft."""
    cancel: Callable[[Generation], None]
    """Ask for one to be stopped."""
    is_alive: Callable[[], bool]
    """Whether what writes to them still runs."""
    ended: Callable[[Generation], None]
    """Called once with each when it is over."""
    more: Callable[[Generation, dict[str, Any]], Generation]
    """Submit what goes on with one that stopped."""
    branch: Callable[[Generation, int, int | str | None, dict[str, Any]], Generation]
    """Submit what leaves the text of one at a position."""
    notify: Callable[[Callable[[], object]], None]
    """Have other people's code called, on a thread that may wait for it."""
    watched: Callable[[Generation], None]
    """Called when somebody begins to listen to its events."""
    positions: Callable[[Trace], Positions]
    """Compute both models' logits along a recorded text."""
    with_cells: Callable[[list[Event]], list[Event]]
    """Tell rounds which cell made the text that their drafts were looked up in."""


class Generation:
    """A prompt on its way through the engine.

    Everything the engine writes here (state, events, statistics) is written by the engine thread alone, until the final
    state; the lock guards that there is one, and the lists of those who want to know.

    Example::

        gen = engine.submit("Why is the sky blue?", max_tokens=64)
        print(gen.result())          # waits; or `await gen`, or `async for event in gen.stream()`
        gen.stats.acceptance_rate
    """

    def __init__(self, access: EngineAccess, id: int, prompt: str | list[Message], params: SamplingParams) -> None:
        self.id = id
        self.prompt = prompt
        self.params = params
        self.state = State.WAITING
        self.finish_reason: str | None = None
        self.is_cut = False  # by a stop text
        self.error: ExsaError | None = None
        self.events: list[Event] = []
        self.tokens: list[int] = []
        self.prompt_ids: list[int] = []
        self.end_ids: list[int] = []
        self.stats = Stats()
        self.seed: int | None = params.seed
        self.origin = ""  # where it came from, as tables show it; empty for a cell
        self.cell: int | None = None  # n of the cell In [n] that asked
        self.submitted = time.perf_counter()
        self.cancel_reason = ""
        self.notes: list[str] = []
        self.grammar: Grammar | None = None
        self.result_model: type[Any] | None = None
        self.formed = ""
        self.thinking: Thinking | None = None
        self.tool_format: ToolFormat | None = None
        self.continues: Continuation | None = None
        self.following: Generation | None = None  # what `more` returned last
        self._access = access
        self._texts: list[str] = []
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._on_end: list[tuple[Callable[[], None], bool]] = []

    def __repr__(self) -> str:
        speed = f", {self.stats.tokens_per_second:.0f} tok/s" if self.stats.tokens_per_second else ""
        return f"<Generation {self.id} {self.state}: {len(self.tokens)} tokens{speed}>"

    # Reading

    @property
    def engine(self) -> EngineView:
        """The engine it was submitted to."""
        return self._access.engine

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def reasoning(self) -> str:
        """The thought so far, without its markers; empty where the model does not think."""
        return self._parts()[0]

    @property
    def answer(self) -> str:
        """The text so far after the thought; all of it where the model does not think."""
        return self._parts()[1]

    @property
    def is_thinking(self) -> bool:
        """Whether the text so far ends inside a thought."""
        return self._parts()[2]

    @property
    def remarks(self) -> list[str]:
        """What a user should know: of the prompt, and of an answer that never began."""
        return [*self.notes, *([_UNFINISHED] if self.state.is_final and self.is_thinking else [])]

    @property
    def prompt_logprobs(self) -> list[PromptTokenEvent]:
        """What ``prompt_logprobs`` asked for: each token of the prompt, and how unexpected it was."""
        return [event for event in list(self.events) if isinstance(event, PromptTokenEvent)]

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """Its calls of ``tools`` so far, as a message's ``tool_calls`` hold them: a call that was cut off is left out.

        Example: ``{"role": "assistant", "content": gen.answer, "tool_calls": gen.tool_calls}``, the text before them.
        """
        calls = [] if self.tool_format is None else read_calls(self.tool_format, self.labelled_text)[1]
        return as_messages(calls, str(self.submitted))

    def _parts(self) -> tuple[str, str, bool]:
        text = self.labelled_text if self.tool_format is None else read_calls(self.tool_format, self.labelled_text)[0]
        return ("", text, False) if self.thinking is None else self.thinking.split(text)

    @property
    def labelled_text(self) -> str:
        """The text so far, with the markers of thoughts and calls that are control tokens, which have no text."""
        labels = {token: text for each in (self.thinking, self.tool_format) if each for token, text in each.labels}
        if not labels:
            return self.text
        tokens = [event for event in list(self.events) if isinstance(event, TokenEvent)]
        return "".join(labels.get(event.token_id) or event.text for event in tokens)

    def more(self, **params: Any) -> Generation:
        """Go on where it stopped for length, or was cancelled; ``.text`` of what is returned is what follows alone.

        ``params`` replace its own. Its tokens are kept as they are, and come from the cache. Raises ConfigError while
        it runs, and where the model ended the text by itself.

        Example: ``gen.text + gen.more(max_tokens=256).result()``.
        """
        if not self.state.is_final:
            raise ConfigError(f"Generation {self.id} is still {self.state}.", hint="Wait for it, or cancel it.")
        if self.finish_reason not in ("length", "cancelled") or not self.prompt_ids:
            raise ConfigError(
                f"Generation {self.id} ended by {self.finish_reason!r}, so nothing follows.",
                hint="Submit the conversation with what is to be said next.",
            )
        self.following = self._access.more(self, params)
        return self.following

    def branch(self, position: int, token: int | str | None = None, **params: Any) -> Generation:
        """Leave this text at a position, take another token there, and go on: what would have come then.

        What is returned has the whole text: this one's up to ``position``, the token, and what follows. ``token`` is
        its number or its text. Without one the choice is made anew among all others: the runner-up under temperature
        0, otherwise another draw. ``params`` replace its own; with the same seed the random numbers after the token
        are the same, too. It may still run: what is there can be left. Raises ConfigError for a position or a token
        that is not there. What came before is found in the prefix cache.

        Example: ``gen.branch(5, " green").result()``.
        """
        return self._access.branch(self, position, token, params)

    @property
    def parsed(self) -> Any:
        """What the text says in the form asked for: an object for ``response_format``, else the text itself.

        Raises ConfigError where no form was asked for, IncompleteForm where the text ended before it had the form.

        Example: ``engine.generate("Invent a city.", response_format=City).parsed.population``.
        """
        if self.params.form is None:
            raise ConfigError(f"Generation {self.id} was asked for no form.", hint="Give response_format, say.")
        if not self.state.is_final:
            raise ConfigError(f"Generation {self.id} is still {self.state}.", hint="Wait for it with .result().")
        if self.finish_reason != "stop":
            raise IncompleteForm(
                f"the text ended by {self.finish_reason!r} before it had the form asked for.",
                hint="Raise max_tokens, or go on with .more()." if self.finish_reason == "length" else "",
            )
        if self.is_cut:
            raise IncompleteForm("a stop text ended it before it had the form.", hint="A form ends without one.")
        return parse_form(self.params.form, self.formed + self.text, self.result_model)

    @property
    def trace(self) -> Trace:
        """Everything that happened so far, as a value that can be saved."""
        return Trace(
            events=list(self.events),
            prompt=self.prompt if isinstance(self.prompt, str) else "\n".join(m["content"] for m in self.prompt),
            params=self.params.as_json() | {"seed": self.seed},
            config=asdict(self._access.config),
            models=dict(self._access.model_names),
            stats=self.stats.as_dict(),
            prompt_ids=list(self.prompt_ids),
            end_ids=list(self.end_ids),
        )

    def positions(self) -> Positions:
        """Return what both models thought before each token so far: their logits, computed again in one pass of each.

        The engine's other generations wait meanwhile. Raises ConfigError for a text of more than
        `exsa_lab.trace.MAX_POSITIONS` tokens, OutOfMemory where there is no room.

        Example: ``gen.positions().p(5, temperature=0.8)`` is the target's distribution of the sixth token.
        """
        return self._access.positions(self.trace)

    # Waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over, however it ended; False when ``timeout`` seconds passed before that."""
        deadline = None if (seconds := patience(timeout)) is None else time.monotonic() + seconds
        # Short waits keep Ctrl-C working where a lock's wait cannot be interrupted (Windows).
        while not self._done.wait(0.2 if deadline is None else max(0.0, min(0.2, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            if not self._access.is_alive():  # in a fork of the process, say: nobody else would tell
                self.fail(EngineFailed("the engine of this generation is gone.", hint=LOAD_AGAIN))
        return True

    def result(self, timeout: float | None = None) -> str:
        """Wait for the text.

        Raises the generation's own error when it failed, GenerationCancelled when it was cancelled, and TimeoutError
        when ``timeout`` seconds passed (it goes on running).
        """
        if not self.wait(timeout):
            raise TimeoutError(f"Generation {self.id} is still {self.state} after {timeout:g} s.")
        return self._outcome()

    def _outcome(self) -> str:
        if self.error is not None:
            raise self.error
        if self.state is State.CANCELLED:
            why = f" ({self.cancel_reason})" if self.cancel_reason else ""
            raise GenerationCancelled(f"Generation {self.id} was cancelled{why}.", hint="Its partial text is in .text.")
        return self.text

    def __await__(self) -> Generator[Any, None, str]:
        return wait_for(self).__await__()

    def stream(self) -> AsyncIterator[Event]:
        """Iterate over its events, those so far included: ``async for event in gen.stream()``."""
        return stream_events(self)

    def cancel(self, reason: str = "") -> None:
        """Ask the engine to stop it; safe from any thread, and harmless once it is over."""
        if self.state.is_final:
            return
        self.cancel_reason = self.cancel_reason or reason
        self._access.cancel(self)

    # Listening

    def subscribe(self, listener: Listener, *, inline: bool = False, looks: bool = True) -> Callable[[], None]:
        """Call ``listener(events)`` with everything so far, then after each round; returns how to stop that.

        The first call is made here, later ones from a thread for listeners; ``inline`` ones are made by the engine
        thread itself, which stops meanwhile: they must return at once. A listener that raises is not called again.
        Nothing follows a final StateEvent. Without ``looks`` it is content with events that lack ``p`` and ``q``, see
        `EngineConfig.probabilities`.
        """
        subscription = Subscription(self.events, listener, inline=inline, looks=looks)
        with self._lock:
            self._subscriptions.append(subscription)
        if looks:
            self._access.watched(self)
        try:
            subscription.tell()
        except BaseException:
            self._forget(self._subscriptions, subscription)
            raise
        if self.state.is_final:
            self._forget(self._subscriptions, subscription)
        return lambda: self._forget(self._subscriptions, subscription)

    def on_end(self, callback: Callable[[], None], *, inline: bool = False) -> Callable[[], None]:
        """Call ``callback()`` once when it is over, at once if it is already; returns how to stop that.

        Cheaper than `subscribe` for who does not look at the events. ``inline`` is as there.
        """
        entry = (callback, inline)
        with self._lock:
            is_over = self._done.is_set()
            if not is_over:
                self._on_end.append(entry)
        if is_over:
            callback()
        return lambda: self._forget(self._on_end, entry)

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks at its tokens' probabilities now."""
        return any(subscription.looks for subscription in list(self._subscriptions))

    # Engine side

    def publish(self, events: list[Event]) -> None:
        """Engine thread only: add events and tell the listeners. After the final state nothing is added."""
        if not events:
            return
        events = self._access.with_cells(events)
        with self._lock:
            if self.state.is_final:
                return
            for event in events:
                if isinstance(event, TokenEvent):
                    self._texts.append(event.text)
                elif isinstance(event, StateEvent):
                    self.state = event.state
            self.events.extend(events)
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            if subscription.is_inline:
                self._tell(subscription)
            else:
                self._access.notify(partial(self._tell, subscription))
        if self.state.is_final:
            self._finish()

    def fail(self, error: ExsaError) -> None:
        """End it with an error, if it is not over: by the engine thread, or by who sees that there is none."""
        with self._lock:
            if self.state.is_final:
                return
            self.error, self.finish_reason = error, "error"
        self.publish([StateEvent(State.FAILED, str(error), time.perf_counter() - self.submitted)])

    def end_cancelled(self, reason: str) -> None:
        """End it as cancelled, if it is not over; a reason that was given before is kept."""
        with self._lock:
            if self.state.is_final:
                return
            self.cancel_reason = self.cancel_reason or reason
            self.finish_reason = "cancelled"
        self.publish([StateEvent(State.CANCELLED, self.cancel_reason, time.perf_counter() - self.submitted)])

    def _tell(self, subscription: Subscription) -> None:
        try:
            subscription.tell()
        except BaseException:  # a broken view must not stop the engine, which serves others
            self._forget(self._subscriptions, subscription)

    def _forget(self, callbacks: list[_Callback], callback: _Callback) -> None:
        with self._lock:
            if callback in callbacks:
                callbacks.remove(callback)

    def _finish(self) -> None:
        self._access.ended(self)
        with self._lock:
            self._done.set()
            callbacks, self._on_end = self._on_end, []
            self._subscriptions = []
        for callback, is_inline in callbacks:
            if is_inline:
                with contextlib.suppress(BaseException):  # nor must whoever waits for its end
                    callback()
            else:
                self._access.notify(callback)
