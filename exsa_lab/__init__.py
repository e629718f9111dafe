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

from typing import TYPE_CHECKING, Any

from exsa_lab.errors import ExsaError
from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.cluster import map
    from exsa_lab.config import EngineConfig, SamplingParams
    from exsa_lab.conversation.chat import Chat
    from exsa_lab.distill import distill
    from exsa_lab.doctor.report import report as doctor
    from exsa_lab.engine.engine import Engine
    from exsa_lab.engine.generation import Generation
    from exsa_lab.experiments import Setting, run_experiment
    from exsa_lab.history_file import history
    from exsa_lab.loading import get_engine, load, unload
    from exsa_lab.manager import BatchManager
    from exsa_lab.serve import serve
    from exsa_lab.sweeps import sweep
    from exsa_lab.trace.trace import Trace
    from exsa_lab.tuner import Tuner
    from exsa_lab.widgets.display import show
    from exsa_lab.widgets.explore import explore
    from exsa_lab.widgets.playground import play
    from exsa_lab.widgets.race import race
    from exsa_lab.widgets.step_through import StepThrough
    from exsa_lab.widgets.timeline import show_timeline

__version__ = "0.2.0"

__all__ = [
    "BatchManager",
    "Chat",
    "Engine",
    "EngineConfig",
    "ExsaError",
    "Generation",
    "SamplingParams",
    "Setting",
    "StepThrough",
    "Trace",
    "Tuner",
    "distill",
    "doctor",
    "explore",
    "get_engine",
    "history",
    "load",
    "load_ipython_extension",
    "map",
    "play",
    "race",
    "run_experiment",
    "serve",
    "show",
    "show_timeline",
    "sweep",
    "unload",
]

# Importing exsa_lab stays quick: what needs numpy or llama.cpp is imported when it is first used.
_HOMES = {
    "BatchManager": "exsa_lab.manager",
    "Chat": "exsa_lab.conversation.chat",
    "Engine": "exsa_lab.engine.engine",
    "EngineConfig": "exsa_lab.config",
    "Generation": "exsa_lab.engine.generation",
    "SamplingParams": "exsa_lab.config",
    "Setting": "exsa_lab.experiments",
    "StepThrough": "exsa_lab.widgets.step_through",
    "Trace": "exsa_lab.trace.trace",
    "Tuner": "exsa_lab.tuner",
    "distill": "exsa_lab.distill",
    "doctor": "exsa_lab.doctor",
    "explore": "exsa_lab.widgets.explore",
    "get_engine": "exsa_lab.loading",
    "history": "exsa_lab.history_file",
    "load": "exsa_lab.loading",
    "map": "exsa_lab.cluster",
    "play": "exsa_lab.widgets.playground",
    "race": "exsa_lab.widgets.race",
    "run_experiment": "exsa_lab.experiments",
    "serve": "exsa_lab.serve",
    "show": "exsa_lab.widgets.display",
    "show_timeline": "exsa_lab.widgets.timeline",
    "sweep": "exsa_lab.sweeps",
    "unload": "exsa_lab.loading",
}


__getattr__, __dir__ = lazy_members(__name__, _HOMES)


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics: ``%load_ext exsa_lab``."""
    from exsa_lab.magics import ExsaMagics

    ipython.register_magics(ExsaMagics)
