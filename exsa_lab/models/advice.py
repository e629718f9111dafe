"""Which weight format suits this machine: speed gained and quality lost, both measured here.

On CPU llama.cpp computes several tokens at once fast in some formats and slowly in others, so a model as downloaded
may be far from the best it could be for batches and long prompts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

from exsa_lab import files
from exsa_lab.config import EngineConfig
from exsa_lab.hardware import detect
from exsa_lab.models import speed
from exsa_lab.models.cache import cache_folder
from exsa_lab.models.conversion import Origin, as_origin, check_format, convert, origin_of
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.quality import Quality, measure_quality
from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.protocol import Context
from exsa_lab.scatter import if_busy, typical_delay

CANDIDATES = ("q8_0", "iq4_nl")
"""The safe choice, and the fast one."""
MAX_KL, MIN_AGREEMENT = 0.02, 0.9
"""A format that changes the model more than this is not advised, however fast."""
MIN_GAIN = 1.1
_SEQUENCES = 16
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class FormatResult:
    """One weight format on this machine. Speeds in tokens per second."""

    format: str
    single: float
    """Decoding one sequence."""
    batch: float
    """Decoding 16 sequences together."""
    prompt: float
    """Computing a prompt."""
    quality: Quality | None
    """Against the model as it is; None for that itself."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The model as it is (first) and converted, and the format that is better all in all, None if none is."""

    model: str
    results: tuple[FormatResult, ...]
    best: str | None
    scatter: float = 0.0
    """How far repeats of the measurements differed, as a share; see `exsa_lab.scatter.typical_delay`."""

    def lines(self) -> list[str]:
        """One line per conversion: gains in speed, loss in quality."""
        first = self.results[0]
        return [
            f"{result.format}: one request x{result.single / first.single:.2f}, {_SEQUENCES} requests "
            f"x{result.batch / first.batch:.2f}, prompts x{result.prompt / first.prompt:.2f}; {result.quality}"
            for result in self.results[1:]
        ]

    @property
    def verdict(self) -> str:
        """What to do with the model as it is, in one sentence or two."""
        return self.verdict_on(self.results[0].format)

    def verdict_on(self, loaded: str) -> str:
        """What to do where the model is loaded in this format."""
        best = self.advised
        busy = if_busy(self.scatter)
        if self.has_best(loaded):
            said = f"{loaded} is the best format measured here."
        elif self.best is None:
            said = f"The model as it was, {best}, is better than {loaded} here: load it without weights."
        else:
            said = f"Load with weights={best!r} (%exsa_load --weights {best}): faster, at nearly the same quality."
        return f"{said} {busy} Ask again later." if busy else said

    def has_best(self, loaded: str) -> bool:
        """Whether this format is the one advised."""
        return _same(self.advised, loaded)

    @property
    def advised(self) -> str:
        """The format to load: the best, or that of the model as it is."""
        return self.best or self.results[0].format


def advise(
    model: str | Path,
    formats: Sequence[str] = CANDIDATES,
    *,
    progress: Callable[[float], None] | None = None,
) -> Advice:
    """Convert the model to each format, measure speed and quality, and say which is best; kept on disk.

    Takes about ten seconds for a small model on a quiet machine; what a busy one shows is not kept. Raises what
    `convert` and `measure_quality` raise.

    Example: ``print("\\n".join(advise("smollm2-135m").lines()))``.
    """
    kinds = [check_format(name) for name in formats]
    source = resolve(model).path
    known = known_advice(source, kinds)
    if known is not None:
        return known
    report = progress or (lambda _: None)
    paths = {read_facts(source).quantisation: source}
    for kind in kinds:
        path = convert(source, kind)
        if path != source:
            paths[kind] = path
    report(0.2)
    speeds, scatter = _measure_speeds(list(paths.values()))
    report(0.5)
    results = []
    for index, (name, path) in enumerate(paths.items()):
        quality = measure_quality(source, path) if index else None
        results.append(FormatResult(name, *speeds[path], quality=quality))
        report(0.5 + 0.5 * (index + 1) / len(paths))
    advice = Advice(source.stem, tuple(results), _best(results), scatter)
    if not if_busy(scatter):
        with files.as_config_error("the advice could not be kept", hint="Set XDG_CACHE_HOME to a folder with room."):
            files.write_json(_cache_file(as_origin(source), kinds), asdict(advice))
    return advice


def known_advice(model: str | Path, formats: Sequence[str] = CANDIDATES) -> Advice | None:
    """Return advice that was measured on this machine before, None otherwise; measures nothing."""
    return _stored(as_origin(resolve(model).path), formats)


def advice_on(facts: GGUFFacts) -> tuple[str, Advice | None]:
    """Say of a model that is loaded what is known of its format here, and return what was measured, if anything was.

    Of a conversion it is what was measured for the file that it was made from: that is where the choice is.
    """
    origin = origin_of(facts.path)
    advice = known_advice(facts.path) or (None if origin is None else _stored(origin, CANDIDATES))
    if advice is not None:
        return advice.verdict_on(facts.quantisation), advice
    ask = "exsa_lab.models.advise() measures what another format gains and loses here, in about ten seconds."
    return f"Not measured here yet whether another format than {facts.quantisation} is faster. {ask}", None


def _stored(model: Origin, formats: Sequence[str]) -> Advice | None:
    try:
        stored = files.read_json(_cache_file(model, formats))
        results = tuple(
            FormatResult(**{**item, "quality": Quality(**item["quality"]) if item["quality"] else None})
            for item in stored["results"]
        )
        return Advice(stored["model"], results, stored["best"], stored["scatter"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # Not there, or written by another version.
        return None


def may_gain(facts: GGUFFacts) -> bool:
    """Whether another format could be faster on CPU: not where llama.cpp has batched kernels for this one."""
    return facts.quantisation not in ("Q4_0", "Q4_K", "IQ4_NL", "Q2_K", "MXFP4")


def _same(one: str, other: str) -> bool:
    """Whether two names are of the same format: a conversion to q4_k_m has Q4_K."""
    return one.upper().removesuffix("_M") == other.upper().removesuffix("_M")


def _best(results: Sequence[FormatResult]) -> str | None:
    first = results[0]
    gains = {
        result.format: (result.single / first.single * result.batch / first.batch * result.prompt / first.prompt)
        ** (1 / 3)
        for result in results[1:]
        if result.quality is not None
        and result.quality.kl <= MAX_KL
        and result.quality.top1_agreement >= MIN_AGREEMENT
        and result.single >= 0.9 * first.single
    }
    best = max(gains, key=lambda name: gains[name], default=None)
    return best if best is not None and gains[best] >= MIN_GAIN else None


def _measure_speeds(paths: Sequence[Path]) -> tuple[dict[Path, tuple[float, float, float]], float]:
    """Tokens per second of one sequence, of 16, and of a prompt, for each file; and how far repeats differed.

    All are open at once and take turns, so that a busy moment of the machine hits all of them; each keeps its
    fastest times. Where memory does not allow that they are measured one after the other.
    """
    fits = 2 * sum(path.stat().st_size for path in paths) < detect().available_memory
    times: dict[Path, list[tuple[float, float, float]]] = {path: [] for path in paths}
    for group in [paths] if fits else [[path] for path in paths]:
        with ExitStack() as stack:
            contexts = {path: _open(path, stack) for path in group}
            for _ in range(_ROUNDS):
                for path, context in contexts.items():
                    times[path].append(_time_once(context))
    columns = {path: list(zip(*rows, strict=True)) for path, rows in times.items()}
    fastest = {path: [min(column) for column in found] for path, found in columns.items()}
    speeds = {
        path: (1 / single, _SEQUENCES / batch, speed.PROMPT / prompt)
        for path, (single, batch, prompt) in fastest.items()
    }
    return speeds, typical_delay(column for found in columns.values() for column in found)


def _open(path: Path, stack: ExitStack) -> Context:
    from exsa_lab.runtime.model import LlamaModel

    config = EngineConfig(n_ctx=2048, n_seq_max=_SEQUENCES, n_batch=512)
    model = stack.enter_context(closing(LlamaModel(path, config)))
    context = stack.enter_context(closing(model.open_context(config, detect().usable_threads)))
    speed.prepare(context, 1)
    return context


def _time_once(context: Context) -> tuple[float, float, float]:
    steps = []
    for sequences in (1, _SEQUENCES):
        speed.prepare(context, sequences)
        steps.append(speed.step_seconds(context, sequences))
    return steps[0], steps[1], speed.prompt_seconds(context)


def _cache_file(model: Origin, formats: Sequence[str]) -> Path:
    """One file per model file, machine, llama.cpp and formats."""
    hardware = detect()
    try:
        version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    facts = [model.size, model.mtime_ns, hardware.cpu, hardware.usable_threads, version, list(formats)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return cache_folder("advice") / f"{model.stem}-{key}.json"
