"""The whole recipe: the target writes, the draft learns, a GGUF is written and measured."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exsa_lab.config import EngineConfig
from exsa_lab.distill.export import FORMATS, write_gguf
from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.distill.measure import Agreement, agreement, answers, step_seconds
from exsa_lab.distill.prompts import TEMPLATE, TrainingPrompt, training_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, ExsaError, how_to_install
from exsa_lab.hardware import detect
from exsa_lab.loading import prepare
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.resolve import resolve
from exsa_lab.models.vocabulary import check_vocabulary
from exsa_lab.runtime.model import LlamaModel

if TYPE_CHECKING:
    from exsa_lab.distill.llama import Shape, Weights
    from exsa_lab.distill.text import Texts
    from exsa_lab.distill.train import Progress, Trainer

SIZES = {"8m": (128, 4, 512), "16m": (256, 4, 768), "23m": (320, 6, 1024), "29m": (320, 6, 2048)}
"""Width, layers and feed-forward by name; the names count a vocabulary of 49,152."""
SETTLING = 0.15
"""Of training, what goes to settling after the output layer was rounded."""
LONGEST_DRAFT = 6


@dataclass(frozen=True, slots=True)
class DistillReport:
    """What came out of `distill`."""

    path: Path
    parameters: int
    rows: int
    steps: int
    by_position: list[float]
    """Share of rounds, greedy, that accept the first, the second, ... draft token of six, on held-out prompts."""
    tokens_per_round: list[float]
    """At draft lengths 1 to 6."""
    speedups: list[float]
    """Predicted for this machine from the measured cost of a step, at draft lengths 1 to 6."""

    @property
    def best_length(self) -> int:
        """The draft length with the best prediction; 0 where plain decoding is faster."""
        best = int(np.argmax(self.speedups))
        return best + 1 if self.speedups[best] > 1 else 0

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.2f}" for share in self.by_position)
        lines = [
            f"{self.path}: {self.parameters / 1e6:.1f} M parameters, {self.steps:,} steps on {self.rows:,} texts",
            f"held-out prompts, greedy: draft token n accepted in {shares} of rounds",
        ]
        gain = f"no gain (at best x{max(self.speedups):.2f}): plain decoding"
        if self.best_length:
            gain = f"x{self.speedups[self.best_length - 1]:.2f} at draft length {self.best_length}"
        return "\n".join([*lines, f"predicted here, from medians of 30 decodes: {gain}"])


def distill(
    target: str | Path,
    out: str | Path,
    size: str = "16m",
    budget: float = 3600.0,
    *,
    prompts: Sequence[str] = (),
    start: str | Path | None = None,
    to: str = "q4_0",
    writing: float = 0.4,
    learning_rate: float = 2.5e-3,
    seed: int = 0,
    device: str | None = None,
    text_length: int = 320,
    rows_at_once: int | None = None,
    held_out: int = 20,
    progress: bool = True,
) -> DistillReport:
    """Train a draft for a Llama-architecture ``target`` and write it to ``out`` as a GGUF.

    ``budget`` is in seconds: the share ``writing`` of it goes to text the target writes, the rest to training; writing
    the file and measuring come on top. ``size`` is one of `SIZES` or WIDTHxLAYERSxFEED_FORWARD. ``start`` is a draft to
    go on from, named as for `exsa_lab.load`; its feed-forward may be narrower than asked for. Weights are stored in the
    format ``to`` (see `exsa_lab.distill.export`), and the draft learns with them rounded as they will be; "iq4_nl"
    rounds the output layer at the end and lets the others settle to it, the fastest on a CPU. ``prompts``
    are the user's own, mixed into the bundled ones. The learning rate falls from ``learning_rate`` to nothing.
    ``held_out`` prompts of each kind, never trained on, are measured at the end. The text and the state of training are
    kept beside ``out``: an interrupted run goes on where it was, and deleting ``*.texts.npz`` and ``*.checkpoint``
    starts anew.

    Several GPUs share the work where torchrun starts a process for each: ``torchrun --nproc-per-node 2 -m exsa_lab.cli
    distill ...``. Raises ConfigError for bad arguments, InvalidModel for a target that is no plain Llama.

    Example: ``xl.distill("smollm2-135m", "draft.gguf", size="16m", budget=1800)``.
    """
    for package in ("torch", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise ExsaError(f"{package} is not installed.", hint=how_to_install("torch", "gguf"))
    import torch

    from exsa_lab.distill.crew import Crew
    from exsa_lab.distill.llama import read_llama
    from exsa_lab.distill.train import Budget, Trainer

    sizes = parse_size(size)
    if to not in FORMATS:
        raise ConfigError(f"unknown weight format {to!r}.", hint=f"Known: {', '.join(FORMATS)}.")
    if budget <= 0 or not 0 < writing < 1:
        raise ConfigError(
            f"budget is {budget!r}, writing {writing!r}.", hint="Seconds above 0, a share between 0 and 1."
        )
    path, out = resolve(target).path, Path(out)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    crew = Crew.join(device)
    model = read_llama(path, device, dtype)
    own, first = _first_weights(model, sizes, start, seed)
    text = _Writing(path, out, tuple(prompts), budget * writing, text_length, rows_at_once, seed, crew.rank)
    texts = text.load_or_write(model, progress)
    trainer = Trainer(
        model, (own, first), texts, seed=seed, to=to, learning_rate=learning_rate, crew=crew,
        rows_per_step=max(64, 128 // crew.size) if device.startswith("cuda") else max(1, 8 // crew.size),
    )  # fmt: skip
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.is_file():
        trainer.resume(checkpoint)
    training = budget * (1 - writing)
    settling = training * SETTLING if to == "iq4_nl" else 0.0
    with _bar("training", progress) as bar:
        trainer.run(Budget(training - settling), checkpoint, lambda state, used: _show(bar, used, state))
    if settling:
        with _bar("settling", progress) as bar:
            trainer.settle(Budget(settling), lambda state, used: _show(bar, used, state))
    return crew.by_first(lambda: _finish(path, out, trainer, to, len(texts.tokens), held_out))


def _finish(path: Path, out: Path, trainer: Trainer, to: str, rows: int, held_out: int) -> DistillReport:
    arrays = {name: value.float().cpu().numpy() for name, value in trainer.weights.items()}
    write_gguf(out, f"{path.stem} draft", trainer.shape, arrays, path, to, trainer.packed)
    check_vocabulary(read_facts(path), read_facts(out))
    parameters = sum(array.size for array in arrays.values())
    return _measure(path, out, parameters, rows, trainer.progress.step, held_out)


def parse_size(size: str) -> tuple[int, int, int]:
    """Return width, layers and feed-forward; raises ConfigError for what is neither a name nor three numbers."""
    if size in SIZES:
        return SIZES[size]
    parts = size.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"size is {size!r}.", hint=f"It must be {', '.join(SIZES)} or such as 320x6x1024.")
    width, layers, feed_forward = map(int, parts)
    if width % 32 or feed_forward % 32:
        raise ConfigError(f"size is {size!r}.", hint="Width and feed-forward must be multiples of 32.")
    return width, layers, feed_forward


def draft_shape(target: Shape, width: int, layers: int, feed_forward: int) -> Shape:
    """Return a draft's sizes: heads of 64 where the width allows, half as many key/value heads where even."""
    from exsa_lab.distill.llama import Shape

    heads = width // 64 if width % 64 == 0 else 1
    kv_heads = heads // 2 if heads % 2 == 0 else 1
    return Shape(width, layers, heads, kv_heads, feed_forward, target.vocabulary, target.rope_base, target.norm_epsilon)


def _first_weights(
    target: tuple[Shape, Weights], sizes: tuple[int, int, int], start: str | Path | None, seed: int
) -> tuple[Shape, Weights]:
    import torch

    from exsa_lab.distill.drafts import new_draft, widened
    from exsa_lab.distill.llama import read_llama

    own = draft_shape(target[0], *sizes)
    if start is None:
        return own, new_draft(own, target[1]["token_embd.weight"], seed)
    found, weights = read_llama(resolve(start).path, "cpu", torch.float32)
    if replace(found, feed_forward=own.feed_forward) != own:
        raise ConfigError(f"{start} is of another size: {found}.", hint=f"Wanted: {own}.")
    return widened(found, weights, own.feed_forward, seed)


@dataclass(frozen=True, slots=True)
class _Writing:
    """How the text is written: for ``seconds``, ``length`` tokens a row, and kept beside ``out``.

    Of several processes each (``rank``) writes other text.
    """

    path: Path
    out: Path
    own: tuple[str, ...]
    seconds: float
    length: int
    rows_at_once: int | None
    seed: int
    rank: int

    def load_or_write(self, target: tuple[Shape, Weights], progress: bool) -> Texts:
        from exsa_lab.distill.text import ChatFrame, Texts, starts, write_texts

        kept = self.out.with_suffix(f".texts{self.rank or ''}.npz")
        seed = self.seed + 100_000 * self.rank
        if kept.is_file():
            return Texts.load(kept)
        count = self.rows_at_once or _rows_that_fit(*target, self.length)
        model = LlamaModel(self.path, EngineConfig())
        try:
            frame = ChatFrame(model)
            is_end = np.array([model.is_end(token) for token in range(model.vocab_size)])
            parts: list[Texts] = []
            source, begin = training_prompts(seed, self.own), time.monotonic()
            with _bar("writing text", progress) as bar:
                while (used := (time.monotonic() - begin) / self.seconds) < 1 or not parts:
                    beginnings = starts(source, frame, count, self.length // 2)
                    parts.append(write_texts(*target, frame, beginnings, is_end, self.length, seed + len(parts)))
                    _show(bar, used)
            # No template can make a held-out prompt, but the target might invent one.
            held_out = [TrainingPrompt(TEMPLATE, prompt) for prompts in HELD_OUT.values() for prompt in prompts]
            texts = Texts.join(parts).without([frame.start(prompt).tokens for prompt in held_out])
        finally:
            model.close()
        texts.save(kept)
        return texts


def _rows_that_fit(shape: Shape, weights: Weights, length: int) -> int:
    """Return how many rows to write at once: a GPU takes as many as half its free memory holds, up to 3,072."""
    import torch

    embedding = weights["token_embd.weight"]
    if not embedding.is_cuda:
        return 16
    cache = 2 * embedding.element_size() * shape.layers * shape.kv_heads * shape.head_size * length
    logits = 16 * shape.vocabulary  # Logits, noise and what is made of them.
    return int(max(16, min(3072, torch.cuda.mem_get_info(embedding.device)[0] // 2 // (cache + logits))))


def _measure(path: Path, out: Path, parameters: int, rows: int, steps: int, held_out: int) -> DistillReport:
    n_threads = detect().usable_threads
    prompts = [prompt for group in HELD_OUT.values() for prompt in group[:held_out]]
    config = EngineConfig(n_threads=n_threads)
    with Engine(prepare(str(path), None, config), config) as engine:
        written = answers(engine, prompts, 128, 0.0)
    found = Agreement(agreement(path, out, written, 0.0, n_threads))
    lengths = range(1, LONGEST_DRAFT + 1)
    tokens = [found.tokens_per_round(k) for k in lengths]
    cost = step_seconds(path, n_threads, range(1, LONGEST_DRAFT + 2))
    draft = step_seconds(out, n_threads, [1])[0]
    speedups = [tokens[k - 1] * cost[0] / (k * draft + cost[k]) for k in lengths]
    return DistillReport(out, parameters, rows, steps, found.by_position(LONGEST_DRAFT), tokens, speedups)


def _bar(what: str, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=100, desc=what, disable=not shown, bar_format="{desc}: {percentage:3.0f}% {bar} {postfix}")


def _show(bar: Any, used: float, state: Progress | None = None) -> None:
    if state is not None and state.losses:
        bar.set_postfix_str(f"step {state.step:,}, loss {state.losses[-1]:.2f}", refresh=False)
    bar.n = round(100 * min(1.0, used))
    bar.refresh()
