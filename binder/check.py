"""Loads the default pair, generates a little, and says what it took: Binder gives a notebook 2 GB."""

from __future__ import annotations

import sys

import psutil

import exsa_lab as xl
from exsa_lab.loading import get_plan

LIMIT = 2 << 30
JUPYTER = 300 << 20
"""What JupyterLab's server takes beside the kernel."""

engine = xl.load()
generation = engine.generate("Say hello.", max_tokens=8)
taken = psutil.Process().memory_info().rss
print(f"{engine.target.name} with {engine.draft.name if engine.draft else 'no draft'}: {generation.text!r}")
plan = get_plan()
planned = f"; planned for a full context: {plan.memory.host / 2**20:.0f} MiB" if plan is not None else ""
print(f"{taken / 2**20:.0f} MiB in the kernel{planned}")
engine.close()
if taken + JUPYTER > LIMIT:
    sys.exit("the default pair does not fit into 2 GB beside JupyterLab")
