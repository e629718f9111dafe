"""Model files: finding, checking, converting and comparing them.

Example::

    from exsa_lab.models import advise, convert, measure_quality

    print(measure_quality("smollm2-135m", convert("smollm2-135m", to="q8_0")))
    print(advise("smollm2-135m").verdict)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.models.advice import advise
    from exsa_lab.models.conversion import convert
    from exsa_lab.models.cost_scaling import scale_cost
    from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
    from exsa_lab.models.listing import list_models
    from exsa_lab.models.quality import measure_quality
    from exsa_lab.models.resolve import model_path
    from exsa_lab.models.trial import try_load

__all__ = [
    "GGUFFacts",
    "advise",
    "convert",
    "list_models",
    "measure_quality",
    "model_path",
    "read_facts",
    "scale_cost",
    "try_load",
]

# Imported when first used, so that importing one module of this package costs no more than that module.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "GGUFFacts": "exsa_lab.models.gguf_facts",
        "advise": "exsa_lab.models.advice",
        "convert": "exsa_lab.models.conversion",
        "list_models": "exsa_lab.models.listing",
        "measure_quality": "exsa_lab.models.quality",
        "model_path": "exsa_lab.models.resolve",
        "read_facts": "exsa_lab.models.gguf_facts",
        "scale_cost": "exsa_lab.models.cost_scaling",
        "try_load": "exsa_lab.models.trial",
    },
)
