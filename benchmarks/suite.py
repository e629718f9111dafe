"""Which benchmarks there are here, and what "all" runs on a GPU."""

from __future__ import annotations

from exsa_lab.bench.cli import Suite

SUITE = Suite(
    prog="python -m benchmarks",
    package="benchmarks",
    benchmarks={
        "view": "one request under the live strip against no view",
        "ui": "many background requests with live strips and a timeline against no view, and the messages they send",
        "prefill": "how fast a long prompt is read, by the size of micro-batches",
        "cells": "what cells that other texts left in the cache cost a lone step",
        "attention": "what the length of the own text costs a step, by tokens, attention and KV cache",
        "conversation": "how soon the replies of a long conversation begin, and how much of it is cached",
        "memory": "does loading take what the planner estimated, and closing give it back?",
        "rounding": "how far logits differ with the number of tokens computed at once, and what makes them equal",
        "forms": "texts of twelve JSON schemas: does every one that ends have its form?",
        "assisted": "the gain by speculation here and in transformers' assisted generation",
    },
    on_gpu={"memory": [], "prefill": [], "rounding": [], "assisted": []},
    weights_on_gpu={"rounding": ("as-shipped", "F16")},
)
