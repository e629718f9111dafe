"""One setting, tried on some prompts: what the tuner and the sweeps are made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any, Literal

from exsa_lab.config import DrafterName, SamplingParams, as_list, settle, whole
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, shown
from exsa_lab.events import State
from exsa_lab.scatter import busy_steps
from exsa_lab.signals import held_interrupts

METRICS = {
    "tokens_per_second": "tok/s, all together",
    "request_tokens_per_second": "tok/s of one request",
    "ttft_s": "TTFT",
    "acceptance_rate": "accepted",
    "tokens_per_round": "tokens per round",
    "tokens": "tokens",
    "failed": "failed",
}
"""What an `Experiment` sums up, and how it is called."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How prompts are generated: `SamplingParams`, and how many at once with which seeds.

    Example: ``Setting(draft_length=3, temperature=0.8, concurrency=4, seeds=(1, 2))``.
    """

    drafter: DrafterName = "auto"
    draft_length: int | Literal["auto"] = "auto"
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    max_tokens: int = 96
    chat: bool = True
    concurrency: int = 1
    """Requests at once."""
    seeds: tuple[int, ...] = (0,)
    """Every prompt is generated once with each."""

    def __post_init__(self) -> None:
        concurrency = whole("concurrency", self.concurrency, 1, 1 << 20)
        seeds = tuple(whole("a seed", seed, 0, 2**64 - 1) for seed in as_list("seeds", self.seeds, of="numbers"))
        if not seeds:
            raise ConfigError("there is no seed.", hint="Give at least one, such as (0,).")
        settle(self, concurrency=concurrency, seeds=seeds)
        checked = SamplingParams.from_kwargs(**self.params(seeds[0]))  # raises where one is out of range
        own = {item.name for item in fields(self)}
        settle(self, **{name: getattr(checked, name) for name in self.params(seeds[0]) if name in own})

    @classmethod
    def from_kwargs(cls, **values: Any) -> Setting:
        """Build from keywords; an unknown one is an error with advice."""
        names = [item.name for item in fields(cls)]
        if unknown := [name for name in values if name not in names]:
            raise ConfigError(f"unknown setting {shown(unknown[0])}.", hint=f"Known: {', '.join(names)}.")
        return cls(**values)

    def params(self, seed: int) -> dict[str, Any]:
        """Return the keywords of `Engine.submit`."""
        own = ("concurrency", "seeds")
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in own} | {"seed": seed}

    def changed(self) -> dict[str, Any]:
        """Return what differs from `SamplingParams`' own defaults, and the seed where it matters."""
        defaults = SamplingParams()
        params = self.params(self.seeds[0])
        is_greedy = self.temperature == 0
        return {
            name: value
            for name, value in params.items()
            if value != getattr(defaults, name) and not (name == "seed" and is_greedy)
        }

    def as_magic(self, prompt: str) -> str:
        """Return a notebook cell that generates one prompt so."""
        options = "".join(
            f" --no-{name}" if value is False else f" --{name.replace('_', '-')} {value}"
            for name, value in self.changed().items()
        )
        return f"%%exsa{options}\n{prompt}"

    def as_python(self, prompts: Sequence[str]) -> str:
        """Return Python that generates the prompts so, as many at once and with all seeds."""
        listed = "".join(f"    {prompt!r},\n" for prompt in prompts)
        options = "".join(f", {name}={value!r}" for name, value in self.changed().items())
        imports = "import exsa_lab as xl\n"
        if len(self.seeds) == 1 and self.concurrency == 1:
            generations = f"[engine.generate(prompt{options}) for prompt in prompts]"
        elif len(self.seeds) == 1 and self.concurrency >= len(prompts):
            generations = f"engine.map(prompts{options})"
        else:
            imports += "from exsa_lab.experiments import Setting, run_experiment\n"
            given = {item.name: getattr(self, item.name) for item in fields(self)}
            changed = [f"{item.name}={given[item.name]!r}" for item in fields(self) if given[item.name] != item.default]
            generations = f"run_experiment(engine, prompts, Setting({', '.join(changed)})).generations"
        return f"{imports}\nengine = xl.get_engine()\nprompts = [\n{listed}]\ngenerations = {generations}"

    def __str__(self) -> str:
        shown = [f"{name}={value}" for name, value in self.changed().items() if name != "seed"]
        return ", ".join([*shown, f"{self.concurrency} at once"])


@dataclass(slots=True)
class Experiment:
    """What became of one setting."""

    setting: Setting
    prompts: tuple[str, ...]
    generations: list[Generation] = field(default_factory=list)
    seconds: float = 0.0
    """From the first submission to the end of the last generation."""
    was_stopped: bool = False
    target: str = ""
    """Name of the model that wrote, which also says where its cost is scaled."""

    @property
    def sureness(self) -> str:
        """How sure its speed is, to stand in brackets behind it."""
        return ", ".join(["one run", *busy_steps(gen.trace.rounds for gen in self.generations)])

    def is_like(self, other: Experiment) -> bool:
        """Whether both ran the same setting on the same prompts and target."""
        mine, theirs = ((each.setting, each.prompts, each.target) for each in (self, other))
        return mine == theirs

    def summary(self) -> dict[str, float]:
        """Return the numbers of `METRICS`; medians over requests where they are a request's."""
        stats = [gen.stats for gen in self.generations]
        drafted, accepted = sum(s.drafted_tokens for s in stats), sum(s.accepted_tokens for s in stats)
        tokens, rounds = sum(s.generated_tokens for s in stats), sum(s.rounds for s in stats)
        started = [s for s in stats if s.rounds]
        return {
            "tokens_per_second": tokens / self.seconds if self.seconds else 0.0,
            "request_tokens_per_second": median(s.tokens_per_second for s in started) if started else 0.0,
            "ttft_s": median(s.ttft_s for s in started) if started else 0.0,
            "acceptance_rate": accepted / drafted if drafted else 0.0,
            "tokens_per_round": tokens / rounds if rounds else 0.0,
            "tokens": float(tokens),
            "failed": float(sum(gen.state is State.FAILED for gen in self.generations)),
        }


def run_experiment(
    engine: Engine,
    prompts: Sequence[str],
    setting: Setting,
    *,
    on_update: Callable[[Experiment], None] | None = None,
    stop: threading.Event | None = None,
    update_s: float = 0.25,
) -> Experiment:
    """Generate every prompt with every seed, ``setting.concurrency`` at a time, and wait for all of them.

    ``on_update`` is called in this thread every ``update_s`` seconds and at the end. Setting ``stop`` cancels what
    runs; so does an interrupt, which is raised on. A generation that fails is counted, not raised.
    """
    prompts = as_list("prompts", prompts)
    experiment = Experiment(setting, tuple(prompts), target=engine.target.name)
    stop = stop or threading.Event()
    slots = threading.Semaphore(setting.concurrency)
    begin = time.perf_counter()

    def update() -> None:
        experiment.seconds = time.perf_counter() - begin
        if on_update is not None:
            on_update(experiment)

    def wait(is_done: Callable[[float], bool]) -> bool:
        """Wait, updating meanwhile; False when it was stopped."""
        while not stop.is_set():
            if is_done(update_s):
                return True
            update()
        return False

    try:
        for seed, prompt in [(seed, prompt) for seed in setting.seeds for prompt in prompts]:
            if not wait(lambda seconds: slots.acquire(timeout=seconds)):
                break
            with held_interrupts():  # it is known here before an interrupt can lose it
                generation = engine.submit(prompt, **setting.params(seed))
                experiment.generations.append(generation)
            generation.on_end(slots.release, inline=True)
        for generation in experiment.generations:
            wait(generation.wait)
    finally:
        # Stopped, interrupted or refused: nothing may go on running that nobody waits for.
        with held_interrupts():
            for generation in experiment.generations:
                generation.cancel("stopped")
            for generation in experiment.generations:
                generation.wait(5)
        experiment.was_stopped = stop.is_set()
        update()
    return experiment
