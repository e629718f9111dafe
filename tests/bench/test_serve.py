"""Clients in a process of their own, and a quick run of the whole."""

from __future__ import annotations

import pytest

from exsa_lab import loading
from exsa_lab.bench.cli import main
from exsa_lab.bench.http_clients import Clients
from exsa_lab.bench.serve import check
from exsa_lab.bench.setting import Options
from exsa_lab.errors import ConfigError
from exsa_lab.testing import scripted_engine
from tests.prompts.tool_models import PLAIN, reply_model
from tests.serve.parts import serving


@pytest.mark.parametrize("streams", [True, False])
def test_clients_get_their_texts_and_count_their_tokens(streams: bool) -> None:
    with serving(reply_model(PLAIN, "Well.")) as server, Clients(3) as clients:
        answered = clients.ask(server.base_url, server.api_key, ["a", "b", "c"], streams=streams, max_tokens=3)
        again = clients.ask(server.base_url, server.api_key, ["a"], streams=streams, max_tokens=3)
    assert answered.texts == ["Wel"] * 3
    assert answered.num_tokens == [3] * 3
    assert all(0 < first <= answered.seconds for first in answered.first_s)
    assert again.prompt_tokens == answered.prompt_tokens[:1]


def test_a_refusal_is_told() -> None:
    with serving(reply_model(PLAIN, "Well.")) as server, Clients(1) as clients:
        with pytest.raises(RuntimeError, match="API key"):
            clients.ask(server.base_url, "wrong", ["a"])
        assert clients.ask(server.base_url, server.api_key, ["a"], max_tokens=1).texts == ["W"]


def test_an_engine_that_is_loaded_is_left_alone() -> None:
    engine = loading.use(scripted_engine(reply_model(PLAIN, "")))
    try:
        with pytest.raises(ConfigError, match="an engine is loaded"):
            check(Options())
        assert loading.get_engine() is engine
    finally:
        loading.unload()


@pytest.mark.real
def test_a_quick_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--quick", "--tokens", "6"]) == 0
    shown = capsys.readouterr().out
    assert "HTTP, streamed" in shown
    assert "ms to first token" in shown
