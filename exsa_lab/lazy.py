"""Names of a package that are imported when they are first used, so that importing the package costs little."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def lazy_members(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package; ``homes`` tells the module of each name.

    A module of the same name as its member is the member itself: a package that can be called (`callable_package`).

    Example::

        __getattr__, __dir__ = lazy_members(__name__, {"convert": "exsa_lab.models.conversion"})
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        return module if module.__name__ == f"{package}.{name}" else getattr(module, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names


def callable_package(package: str, function: Callable[..., Any]) -> None:
    """Make a package callable: once imported, it hides a function of its name, as in ``xl.distill(...)``."""

    class Package(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[package].__class__ = Package
