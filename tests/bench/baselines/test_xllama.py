"""What xllamacpp's server is asked for, on a stand-in for the library."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exsa_lab.bench.baselines.xllama import SPECULATION, XllamaServer
from exsa_lab.config import EngineConfig


class Params(SimpleNamespace):
    """Parameters of any name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        setattr(self, name, Params())
        return self.__dict__[name]


class Library:
    """Stands in for the module xllamacpp; its server answers with as many tokens as it is asked for."""

    CommonParams = Params
    llama_flash_attn_type = SimpleNamespace(LLAMA_FLASH_ATTN_TYPE_ENABLED="on")
    common_speculative_type = SimpleNamespace(
        **{f"COMMON_SPECULATIVE_TYPE_{name}": name for name in SPECULATION.values()}
    )

    def __init__(self) -> None:
        self.params: Any = None
        self.requests: list[dict[str, Any]] = []
        self.together = threading.Barrier(3, timeout=60)
        self.answer: dict[str, Any] = {"choices": [{"text": "abc"}]}

    def Server(self, params: Any) -> Library:  # noqa: N802
        self.params = params
        return self

    def handle_completions(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        if len(request["prompt"]) > 1:
            self.together.wait()
        return self.answer | {"timings": {"predicted_n": request["max_tokens"], "predicted_ms": 500.0}}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(importlib, "import_module", lambda name: made)
    return made


CONFIG = EngineConfig(n_ctx=512, n_batch=128, n_ubatch=256)


def test_the_server_gets_the_engines_file_threads_and_context(library: Library) -> None:
    with XllamaServer(Path("m.gguf"), CONFIG, 3, n_slots=4):
        params = library.params
    assert (params.model.path, params.n_ctx, params.n_batch, params.n_ubatch) == ("m.gguf", 512, 128, 128)
    assert (params.n_parallel, params.kv_unified, params.flash_attn_type) == (4, True, "on")
    assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == 3
    assert "types" not in params.speculative.__dict__


@pytest.mark.parametrize("kind", SPECULATION)
def test_every_way_of_speculating_is_asked_for_by_its_name(library: Library, kind: str) -> None:
    XllamaServer(Path("m.gguf"), CONFIG, 3, speculation=kind, draft=Path("d.gguf"), draft_length=5)
    speculative = library.params.speculative
    assert speculative.types == [SPECULATION[kind]]
    assert ("draft" in speculative.__dict__) is (kind == "draft")
    if kind == "draft":
        assert (speculative.draft.mparams.path, speculative.draft.n_max) == ("d.gguf", 5)


def test_the_decode_time_is_the_servers_own(library: Library) -> None:
    run = XllamaServer(Path("m.gguf"), CONFIG, 1).complete([1], 11)
    assert (run.num_tokens, run.decode_s, run.text, run.tokens_per_second) == (11, 0.5, "abc", 20.0)


def test_sampling_is_by_temperature_alone(library: Library) -> None:
    server = XllamaServer(Path("m.gguf"), CONFIG, 1)
    server.complete([1], 4)
    server.complete([1], 4, temperature=0.8, seed=3)
    greedy, sampled = library.requests
    assert "samplers" not in greedy
    assert sampled["samplers"] == ["temperature"]
    assert (sampled["top_k"], sampled["top_p"], sampled["min_p"], sampled["seed"]) == (0, 1.0, 0.0, 3)


def test_a_schema_is_sent_along(library: Library) -> None:
    server = XllamaServer(Path("m.gguf"), CONFIG, 1)
    server.complete([1], 4)
    server.complete_all([[1]], 4, schema={"type": "object"})
    free, formed = library.requests
    assert "json_schema" not in free
    assert formed["json_schema"] == {"type": "object"}


def test_all_prompts_are_sent_at_once(library: Library) -> None:
    runs, seconds = XllamaServer(Path("m.gguf"), CONFIG, 1).complete_all([[1, 2], [3, 4], [5, 6]], 4)
    assert [run.num_tokens for run in runs] == [4, 4, 4]
    assert seconds > 0


def test_an_answer_without_times_is_an_error(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "handle_completions", lambda request: {"error": "no slot"})
    with pytest.raises(RuntimeError, match="no slot"):
        XllamaServer(Path("m.gguf"), CONFIG, 1).complete([1], 4)
