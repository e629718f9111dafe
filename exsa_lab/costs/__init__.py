"""What a step costs here, in seconds: measured curves, their correction by the steps that run, their cache on disk.

`exsa_lab.Engine.costs` gives the `CostModel` of an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.costs.model import CostModel

__all__ = ["CostModel"]

# Imported when first used, so that importing one module of this package costs no more than that module.
__getattr__, __dir__ = lazy_members(__name__, {"CostModel": "exsa_lab.costs.model"})
