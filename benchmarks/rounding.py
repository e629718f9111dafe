"""How far the logits of one text differ with the number of tokens computed at once, and whether greedy choices do.

Verification computes several tokens in one batch where plain decoding computes one. Another number of tokens means
other kernels, which add in another order; with quantized weights llama.cpp also rounds the activations to eight bits
before each product, which turns a last digit's difference into one of an eight-bit step. Where the shape of all
batches is the same, nothing differs: "padded to 8" computes single tokens and drafts alike in batches of eight.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.bench.measure import median
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import CHAT
from exsa_lab.config import SamplingParams
from exsa_lab.prompts.encode import encode_prompt
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Batch, Context

WEIGHTS = ("as-shipped", "F16")
LENGTHS = (2, 3, 4, 5, 8, 9, 16)
NEAR_TIE = 0.5
"""Difference of the two best logits below which a choice is called a near tie."""
PADDED = 8

COLUMNS = (
    "n",
    "largest difference of logits",
    "median of each place's largest",
    "other choice",
    "of these near ties",
    "equal bit for bit",
)

Logits = NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens of each of three texts (default: 96)")


def run(options: Options) -> Report:
    """Compare logits of texts written token by token with those of the same texts computed in batches."""
    tokens = options.given.tokens or options.pick(96, 16)
    report = Report("rounding", {"model": options.model, "tokens": tokens})
    for subject in subjects(options, n_ctx=4096, n_seq_max=4):
        for label, changes in _settings(options):
            _measure(subject, label, changes, options, tokens, report)
    return report


def _settings(options: Options) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = [("", {})]
    if not options.quick:
        found.append((", no flash attention", {"flash_attention": False}))
    return found


@dataclass(slots=True)
class _Reader:
    """One context in which texts are computed anew, ``length`` tokens in each batch, padded to ``padded``."""

    context: Context
    batch: Batch
    seconds: list[float]

    def compute(self, prompt: list[int], text: list[int], length: int, padded: int = 0) -> Logits:
        """Return the logits (len(text), vocabulary) after each token of ``text``."""
        self.context.remove(0, 0)
        self._decode(prompt, 0, 1)
        rows: list[Logits] = []
        for start in range(0, len(text), length):
            part = text[start : start + length]
            filling = [0] * max(0, padded - len(part))
            begin = time.perf_counter()
            found = self._decode(part + filling, len(prompt) + start, len(part + filling))
            self.seconds.append(time.perf_counter() - begin)
            rows.append(found[: len(part)].copy())
            self.context.remove(0, len(prompt) + start + len(part))
        return np.concatenate(rows)

    def write(self, prompt: list[int], count: int, padded: int = 0) -> tuple[list[int], Logits]:
        """Write a text greedily, one token at a time; returns it with the logits after each of its tokens."""
        self.context.remove(0, 0)
        token = int(self._decode(prompt, 0, 1)[0].argmax())
        text: list[int] = []
        rows: list[Logits] = []
        for place in range(len(prompt), len(prompt) + count):
            text.append(token)
            filling = [0] * max(0, padded - 1)
            rows.append(self._decode([token, *filling], place, 1 + len(filling))[0].copy())
            self.context.remove(0, place + 1)
            token = int(rows[-1].argmax())
        return text, np.stack(rows)

    def _decode(self, tokens: list[int], position: int, outputs: int) -> Logits:
        self.batch.clear()
        self.batch.add(tokens, position, 0, outputs)
        return self.context.decode(self.batch)


def _measure(
    subject: Subject, label: str, changes: dict[str, Any], options: Options, tokens: int, report: Report
) -> None:
    config = replace(subject.config, **changes)
    name, lengths = f"{subject.name}{label}", options.pick(LENGTHS, (2, 4))
    with ExitStack() as stack:
        model = stack.enter_context(closing(LlamaModel(subject.path, config)))
        # The runtime's own padding is left out: here every batch has exactly the size that is asked for.
        context = stack.enter_context(closing(model.open_context(config, subject.n_threads, padded=False)))
        reader = _Reader(context, context.new_batch(), [])
        prompts = [
            encode_prompt(model, prompt, SamplingParams(), config.n_ctx).tokens for prompt in CHAT[: options.pick(3, 1)]
        ]
        table = report.table(f"{name}: a text in batches of n tokens, against one at a time", *COLUMNS)
        for padded, suffix in ((0, ""), (PADDED, f", all padded to {PADDED}")):
            written = [reader.write(prompt, tokens, padded) for prompt in prompts]
            for length in lengths:
                if padded and length >= padded:
                    continue
                options.progress(f"{name}: batches of {length}{suffix}")
                texts = zip(prompts, written, strict=True)
                found = [reader.compute(prompt, text, length, padded) for prompt, (text, _) in texts]
                table.add(f"{length}{suffix}", *_compare([rows for _, rows in written], found))
        _price(reader, prompts[0], written[0][0], name, report)


def _compare(wanted: list[Logits], found: list[Logits]) -> tuple[float, float, str, str, str]:
    """Return what a row of the table says of logits, text by text."""
    ours, theirs = np.concatenate(found), np.concatenate(wanted)
    differences = np.abs(ours - theirs).max(axis=1)
    best = np.partition(theirs, -2, axis=1)[:, -2:]
    margins = best[:, 1] - best[:, 0]
    others = ours.argmax(axis=1) != theirs.argmax(axis=1)
    near = int((others & (margins < NEAR_TIE)).sum())
    return (
        float(differences.max()),
        float(np.median(differences)),
        f"{int(others.sum())} of {len(ours)}",
        f"{near} of {int(others.sum())}" if others.any() else "",
        f"{int((differences == 0).sum())} of {len(ours)}",
    )


def _price(reader: _Reader, prompt: list[int], text: list[int], name: str, report: Report) -> None:
    times = []
    for padded in (0, PADDED):
        reader.seconds.clear()
        reader.compute(prompt, text, 1, padded)
        times.append(1000 * median(reader.seconds[len(reader.seconds) // 4 :]))
    report.notes.append(
        f"{name}: a step of one token takes {times[0]:.2f} ms, padded to {PADDED} {times[1]:.2f} ms"
        f" (x{times[1] / times[0]:.2f})."
    )
