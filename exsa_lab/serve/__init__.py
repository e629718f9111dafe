"""The kernel's engine for every client: an OpenAI-compatible endpoint, ``xl.serve()``.

Needs more packages: ``pip install starlette uvicorn prometheus-client``. A request goes connection -> guard -> app ->
endpoint -> parameters -> exchange -> chat or completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import callable_package, lazy_members
from exsa_lab.serve.current import current, need_extra, serve, stop
from exsa_lab.serve.limits import Limits

if TYPE_CHECKING:
    from exsa_lab.serve.server import Server

__all__ = ["Limits", "Server", "current", "need_extra", "serve", "stop"]

# Importing this needs none of those packages; the server does.
__getattr__, __dir__ = lazy_members(__name__, {"Server": "exsa_lab.serve.server"})

callable_package(__name__, serve)
