"""Model files: finding, checking, converting and comparing them.

Example::

    from exsa_lab.models import advise, convert, measure_quality

    print(measure_quality("smollm2-135m", convert("smollm2-135m", to="q8_0")))
    print(advise("smollm2-135m").verdict)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exsa_lab.models.advice import advise
    from exsa_lab.models.conversion import convert
    from exsa_lab.models.gguf_facts import read_facts
    from exsa_lab.models.listing import list_models
    from exsa_lab.models.quality import measure_quality
    from exsa_lab.models.trial import try_load

__all__ = ["advise", "convert", "list_models", "measure_quality", "read_facts", "try_load"]

# Imported when first used, so that importing one module of this package costs no more than that module.
_HOMES = {
    "advise": "advice",
    "convert": "conversion",
    "list_models": "listing",
    "measure_quality": "quality",
    "read_facts": "gguf_facts",
    "try_load": "trial",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
