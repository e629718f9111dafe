"""Loading with a progress bar."""

from __future__ import annotations

import time
from typing import Any

from exsa_lab.engine.engine import Engine
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.loading import get_engine, load
from exsa_lab.magics.interrupts import CellInterrupted
from exsa_lab.widgets.progress_bar import ProgressBar


def load_with_progress(target: str, draft: str | None = "auto", **config: Any) -> Engine:
    """Load the kernel's engine as `exsa_lab.load` does, show how far it is, and at the end what there is now."""
    before = _current()
    replaced = f" Closed the engine before it ({before.target.name})." if before else ""
    begin = time.monotonic()
    bar = ProgressBar(f"Loading {target}")
    try:
        engine = load(target, draft, progress=bar.update, **config)
    except KeyboardInterrupt:
        bar.finish("")
        kept = "the engine before it is still loaded" if _current() else "no engine is loaded"
        raise CellInterrupted(f"Interrupted while loading; {kept}.") from None
    except BaseException:
        bar.finish("")
        raise
    if engine is before:
        bar.finish(f"{_models(engine)} is loaded already.")
    else:
        notes = "".join(f"\n{note}" for note in engine.notes)
        bar.finish(f"Loaded {_models(engine)} in {time.monotonic() - begin:.1f} s.{replaced}{notes}")
    return engine


def _current() -> Engine | None:
    try:
        return get_engine()
    except EngineNotLoaded:
        return None


def _models(engine: Engine) -> str:
    return engine.target.name + (f" with the draft {engine.draft.name}" if engine.draft else " without a draft")
