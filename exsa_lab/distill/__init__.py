"""Train a draft for a target from the target's own text: ``from exsa_lab.distill import distill``.

Needs the extra: ``pip install 'exsa-lab[distill]'``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exsa_lab.distill.recipe import DistillReport, distill

__all__ = ["DistillReport", "distill"]


def __getattr__(name: str) -> Any:
    # Prompts and measuring are used without torch, so nothing here may import it.
    if name in __all__:
        from exsa_lab.distill import recipe

        return getattr(recipe, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(ModuleType):
    """Makes ``xl.distill(...)`` work: once imported, this package hides the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> DistillReport:
        from exsa_lab.distill import recipe

        return recipe.distill(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
