"""A model that lives in a child process, as its parent sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from exsa_lab.config import EngineConfig
from exsa_lab.engine.worker import wire
from exsa_lab.errors import EngineError, printable
from exsa_lab.runtime.protocol import Context, SpecialToken, TokenRules


class RemoteModel:
    """A model that lives in the child: its facts are here, its words are asked for."""

    def __init__(self, call: Callable[..., Any], facts: Any) -> None:
        self.name = printable(str(facts["name"]))
        self.path = None if facts["path"] is None else Path(facts["path"])
        self.vocab_size, self.n_ctx_train = int(facts["vocab_size"]), int(facts["n_ctx_train"])
        template = facts["chat_template"]
        self.chat_template = None if template is None else str(template)
        self.token_rules = _rules(facts["token_rules"])
        self.is_recurrent = bool(facts["is_recurrent"])
        self._call = call
        self._known: dict[tuple[str, int], Any] = {}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        options = {"add_special": add_special, "parse_special": parse_special}
        return wire.decode_tokens(self._call("tokenize", text, options))

    def token_bytes(self, token: int) -> bytes:
        return bytes.fromhex(str(self._once("token_bytes", token)))

    def token_label(self, token: int) -> str:
        return str(self._once("token_label", token))

    def is_end(self, token: int) -> bool:
        return bool(self._once("is_end", token))

    def open_context(self, config: EngineConfig, n_threads: int, *, slots: int = 0) -> Context:
        not_here("a context")

    def close(self) -> None:
        """The child closes it."""

    def _once(self, name: str, token: int) -> Any:
        if (name, token) not in self._known:
            self._known[name, token] = self._call(name, int(token))
        return self._known[name, token]


_FLAGS = ("is_control", "strips_left", "strips_right")


def _rules(facts: Any) -> TokenRules:
    specials = tuple(
        SpecialToken(int(item["id"]), str(item["text"]), *(bool(item[name]) for name in _FLAGS))
        for item in facts["specials"]
    )
    ids = {name: None if facts[name] is None else int(facts[name]) for name in ("bos", "eos")}
    lists = {name: tuple(wire.decode_tokens(facts[name])) for name in ("ends", "suppressed")}
    return TokenRules(**ids, adds_bos=bool(facts["adds_bos"]), specials=specials, **lists)  # type: ignore[arg-type]


def not_here(what: str) -> NoReturn:
    """Raise the error for what only an engine of this process has."""
    raise EngineError(f"{what} of this engine is in a process of its own.", hint="Load with isolate=False to reach it.")
