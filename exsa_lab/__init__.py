"""A Jupyter-native lab for local language models.

    %load_ext exsa_lab

    %%exsa --max-tokens 64
    Why is the sky blue?

or, from Python::

    import exsa_lab as xl

    engine = xl.load()
    print(engine.generate("Why is the sky blue?", max_tokens=64).text)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from exsa_lab.errors import ExsaError

if TYPE_CHECKING:
    from exsa_lab.cluster import map
    from exsa_lab.config import EngineConfig, SamplingParams
    from exsa_lab.distill import distill
    from exsa_lab.engine.engine import Engine
    from exsa_lab.engine.generation import Generation
    from exsa_lab.loading import get_engine, load, unload
    from exsa_lab.manager import BatchManager
    from exsa_lab.sweeps import sweep
    from exsa_lab.trace.trace import Trace
    from exsa_lab.tuner import Tuner
    from exsa_lab.widgets.step_through import StepThrough
    from exsa_lab.widgets.timeline import show_timeline

__version__ = "0.1.0"

__all__ = [
    "BatchManager",
    "Engine",
    "EngineConfig",
    "ExsaError",
    "Generation",
    "SamplingParams",
    "StepThrough",
    "Trace",
    "Tuner",
    "distill",
    "get_engine",
    "load",
    "load_ipython_extension",
    "map",
    "show_timeline",
    "sweep",
    "unload",
]

# Importing exsa_lab stays quick: what needs numpy or llama.cpp is imported when it is first used.
_HOMES = {
    "BatchManager": "exsa_lab.manager",
    "Engine": "exsa_lab.engine.engine",
    "EngineConfig": "exsa_lab.config",
    "Generation": "exsa_lab.engine.generation",
    "SamplingParams": "exsa_lab.config",
    "StepThrough": "exsa_lab.widgets.step_through",
    "Trace": "exsa_lab.trace.trace",
    "Tuner": "exsa_lab.tuner",
    "distill": "exsa_lab.distill",
    "get_engine": "exsa_lab.loading",
    "load": "exsa_lab.loading",
    "map": "exsa_lab.cluster",
    "show_timeline": "exsa_lab.widgets.timeline",
    "sweep": "exsa_lab.sweeps",
    "unload": "exsa_lab.loading",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'exsa_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics: ``%load_ext exsa_lab``."""
    from exsa_lab.magics import ExsaMagics

    ipython.register_magics(ExsaMagics)
