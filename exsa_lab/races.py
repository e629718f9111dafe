"""One prompt under several settings, one after the other, so that their speeds can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from exsa_lab.config import SamplingParams, whole
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError
from exsa_lab.prompts.messages import Message
from exsa_lab.trace.trace import Trace

WARM_UP_TOKENS = 16
MAX_REPEATS = 100


def run_race(
    engine: Engine,
    prompt: str | list[Message],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    repeats: int = 1,
    progress: Callable[[str, float], None] = lambda name, fraction: None,
) -> dict[str, list[Trace]]:
    """Generate the prompt under each setting ``repeats`` times; returns the traces by the settings' names.

    Each setting is warmed up first. Settings take turns, and the first one changes from turn to turn: a slow minute of
    the machine hits all of them. Before each run the engine forgets finished texts, so that none looks its draft up in
    the same text written before, and each reads the whole prompt. Raises ConfigError for a wrong setting before
    anything runs, and where other requests would share the machine; what `Engine.generate` raises is raised on.
    ``progress`` is told before each run what it is, and the share of the runs that are over.

    Example: ``run_race(engine, "Why is the sky blue?", {"plain": {"draft_length": 0}, "auto": {}})``.
    """
    repeats = whole("repeats", repeats, 1, MAX_REPEATS)
    if len(settings) < 2:
        raise ConfigError("a race needs two settings.", hint="Give them by name: plain=dict(draft_length=0), auto={}.")
    settings = {name: SamplingParams.own(**values) for name, values in settings.items()}
    if engine.active:
        raise ConfigError(
            "other requests are running, and a race beside them would measure them too.",
            hint="Wait for them with engine.drain(), or end them with %exsa_cancel all.",
        )
    names = list(settings)
    traces: dict[str, list[Trace]] = {name: [] for name in names}
    for number, name in enumerate(names):
        progress(f"warming up {name}", number / len(names) / (1 + repeats))
        most = min(WARM_UP_TOKENS, SamplingParams(**settings[name]).max_tokens)
        engine.generate(prompt, **{**settings[name], "max_tokens": most})
    turns = [names[turn % len(names) :] + names[: turn % len(names)] for turn in range(repeats)]
    for number, name in enumerate(chain.from_iterable(turns), start=len(names)):
        progress(name, number / len(names) / (1 + repeats))
        engine.forget_texts()
        traces[name].append(engine.generate(prompt, **settings[name]).trace)
    return traces
