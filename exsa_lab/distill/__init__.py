"""Train a draft for a target from the target's own text: ``from exsa_lab.distill import distill``.

Needs two packages more: ``pip install torch gguf``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exsa_lab.lazy import callable_package, lazy_members

if TYPE_CHECKING:
    from exsa_lab.distill.drafts import new_draft
    from exsa_lab.distill.llama import Shape, logits, read_llama
    from exsa_lab.distill.measure import Agreement
    from exsa_lab.distill.recipe import DistillReport, distill
    from exsa_lab.distill.text import Start, write_texts
    from exsa_lab.distill.toy import write_toy_target
    from exsa_lab.distill.train import Budget, Trainer

__all__ = [
    "Agreement",
    "Budget",
    "DistillReport",
    "Shape",
    "Start",
    "Trainer",
    "distill",
    "logits",
    "new_draft",
    "read_llama",
    "write_texts",
    "write_toy_target",
]

# Imported when first used: prompts and measuring work without torch, so nothing here may import it.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "Agreement": "exsa_lab.distill.measure",
        "Budget": "exsa_lab.distill.train",
        "DistillReport": "exsa_lab.distill.recipe",
        "Shape": "exsa_lab.distill.llama",
        "Start": "exsa_lab.distill.text",
        "Trainer": "exsa_lab.distill.train",
        "distill": "exsa_lab.distill.recipe",
        "logits": "exsa_lab.distill.llama",
        "new_draft": "exsa_lab.distill.drafts",
        "read_llama": "exsa_lab.distill.llama",
        "write_texts": "exsa_lab.distill.text",
        "write_toy_target": "exsa_lab.distill.toy",
    },
)


def _distill(*args: Any, **kwargs: Any) -> DistillReport:
    from exsa_lab.distill.recipe import distill

    return distill(*args, **kwargs)


callable_package(__name__, _distill)
