"""Serving as users begin it: a magic's line, a command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from exsa_lab import cli, loading
from exsa_lab.serve import current, stop
from exsa_lab.testing import scripted_engine
from tests.serve.parts import PATIENCE_S, chat, model
from tests.shell import Shell, shell


@pytest.fixture
def ip() -> Iterator[Shell]:
    loading.use(scripted_engine(model()))
    with shell() as made:
        yield made
    stop()
    loading.unload()


def test_the_magic_shows_a_clients_code_once(ip: Shell) -> None:
    first = ip.run("%exsa_serve")
    server = current()
    assert first.succeeded
    assert server is not None
    assert server.api_key in first.text()
    assert server.api_key in first.html()
    assert chat(server).status_code == 200
    again = ip.run("%exsa_serve")
    assert again.succeeded
    assert current() is server
    assert server.base_url in again.text()
    assert server.api_key not in again.text() + again.html()
    assert ip.run("%exsa_serve --stop").stdout == "The server is closed.\n"
    assert not server.is_open
    assert ip.run("%exsa_serve --stop").stdout == "No server is open, so there is nothing to close.\n"


def test_unloading_in_the_notebook_closes_it(ip: Shell) -> None:
    ip.run("%exsa_serve")
    server = current()
    assert server is not None
    ip.run("%exsa_unload")
    assert not server.is_open


@pytest.mark.parametrize("line", ["--port x", "--port 99999", "--host no.such.host.invalid", "--portt 3"])
def test_a_mistake_is_one_line(ip: Shell, line: str) -> None:
    result = ip.run(f"%exsa_serve {line}")
    assert type(result.error).__name__ == "ConfigError"
    assert len(result.stdout.strip().splitlines()) == 1


def test_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "no-such-model"]) == 1
    assert capsys.readouterr().err.startswith("exsa-lab: ")


@pytest.mark.real
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal elsewhere")
def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "exsa_lab.cli", "serve", "--draft", "none", "--port", "0", "--n-ctx", "1024"]
    environment = {**os.environ, "EXSA_LAB_API_KEY": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, "it ended"
                said += line
            found = re.search(r'base_url="(\S+)", api_key="(\S+)"', said)
            assert found
            reply = httpx.post(
                f"{found[1]}/chat/completions",
                headers={"authorization": f"Bearer {found[2]}"},
                json={"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
                timeout=PATIENCE_S,
                trust_env=False,
            )
            assert reply.status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
