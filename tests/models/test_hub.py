"""Models from the hub, with the real huggingface_hub in front of a local stand-in."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exsa_lab.errors import ConfigError, InvalidModel, ModelNotFound
from exsa_lab.models import catalog, hub
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.hub import HubName, fetch, find_cached, parse, parts_of
from exsa_lab.models.pins import Pin
from exsa_lab.models.resolve import resolve, resolve_draft
from tests.models.gguf_files import METADATA, TENSORS, data_bytes, header, write
from tests.models.hub_server import COMMIT, HubServer

pytest.importorskip("huggingface_hub")

WHOLE = header(METADATA, TENSORS) + bytes(data_bytes(TENSORS))


def part(number: int, count: int) -> bytes:
    tensors = TENSORS[number - 1 : number] if number < count else TENSORS[number - 1 :]
    if number == 1:
        return header({**METADATA, "split.count": count, "split.no": 0}, tensors) + bytes(data_bytes(tensors))
    return header({"split.count": count, "split.no": number - 1}, tensors) + bytes(data_bytes(tensors))


SPLIT = {f"big-q4_k_m-0000{number}-of-00003.gguf": part(number, 3) for number in (1, 2, 3)}
FILES = {
    "README.md": b"hello",
    "tiny-Q4_K_M.gguf": WHOLE,
    "tiny-Q8_0.gguf": WHOLE,
    "sub/tiny-F16.gguf": WHOLE,
    "mmproj-tiny-Q4_K_M.gguf": b"not a language model",
}


HEADS = {
    "a-Q8_0.gguf": header({**METADATA, "general.type": "adapter"}, TENSORS) + bytes(data_bytes(TENSORS)),
    "the-model-Q8_0.gguf": WHOLE,
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(
        {"acme/tiny": FILES, "acme/big": SPLIT, "acme/heads": HEADS, "acme/none": {"README.md": b""}}
    ).running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield running


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:a/b/c.gguf", HubName("a/b", file="c.gguf")),
        ("hf:a/b/sub/c.gguf", HubName("a/b", file="sub/c.gguf")),
        ("hf:a/b:Q4_K_M", HubName("a/b", quant="Q4_K_M")),
        ("hf:a/b", HubName("a/b")),
    ],
)
def test_names(text: str, name: HubName) -> None:
    assert parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:a",
        "hf:a/",
        "hf:a/../c.gguf",
        "hf:../b:Q4",
        "hf:a/b/c.bin",
        "hf:a/b/c.gguf:Q4",
        "hf:a b/c",
        "hf:a/b/../../x.gguf",
    ],
)
def test_names_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="does not name a model on the hub"):
        parse(text)


def test_parts() -> None:
    assert parts_of("a.gguf") == ["a.gguf"]
    assert parts_of("x/a-00002-of-00003.gguf") == [f"x/a-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert parts_of("a-00001-of-99999.gguf") == ["a-00001-of-99999.gguf"]


# Fetching


def test_a_file_by_its_name(server: HubServer) -> None:
    found = resolve("hf:acme/tiny/tiny-Q8_0.gguf")
    assert found.path.read_bytes() == WHOLE
    assert found.name == "tiny-Q8_0"
    assert read_facts(found.path).layers == 2


def test_a_file_in_a_folder(server: HubServer) -> None:
    assert resolve("hf:acme/tiny/sub/tiny-F16.gguf").path.name == "tiny-F16.gguf"


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("hf:acme/tiny:Q8_0", "tiny-Q8_0.gguf"),
        ("hf:acme/tiny:q4_k_m", "tiny-Q4_K_M.gguf"),
        ("hf:acme/tiny", "tiny-Q4_K_M.gguf"),
        ("hf:acme/tiny:F16", "tiny-F16.gguf"),
    ],
)
def test_a_file_by_its_quantisation(server: HubServer, text: str, file: str) -> None:
    assert resolve(text).path.name == file


def test_a_file_whose_name_does_not_tell_what_it_is(server: HubServer) -> None:
    assert resolve("hf:acme/heads").path.name == "the-model-Q8_0.gguf"


def test_all_parts_of_a_split_model(server: HubServer) -> None:
    first = resolve("hf:acme/big:Q4_K_M").path
    assert first.name == "big-q4_k_m-00001-of-00003.gguf"
    facts = read_facts(first)
    assert facts.split_count == 3
    assert facts.weight_bytes == read_facts(write(first.with_name("whole.gguf"))).weight_bytes
    copy = first.with_name("other-00002-of-00003.gguf")
    copy.write_bytes(first.read_bytes())
    for other in (copy, first.with_name("big-q4_k_m-00002-of-00003.gguf")):
        with pytest.raises(InvalidModel, match=r"one of 3 parts.*ends in -00001-of-00003\.gguf"):
            read_facts(other)
    first.with_name("big-q4_k_m-00003-of-00003.gguf").unlink()
    assert find_cached(parse("hf:acme/big:Q4_K_M")) is None  # Not all of it is there.


def test_what_is_cached_asks_no_network(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = resolve("hf:acme/tiny:Q8_0").path
    asked = len(server.requests)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert resolve("hf:acme/tiny:Q8_0").path == resolve("hf:acme/tiny/tiny-Q8_0.gguf").path == path
    assert len(server.requests) == asked


def test_a_broken_download_is_taken_up_again(server: HubServer) -> None:
    server.cut = 1000
    path = resolve("hf:acme/tiny/tiny-Q8_0.gguf").path
    assert path.read_bytes() == WHOLE
    assert sum(request.startswith("GET /acme/tiny/resolve/main/tiny-Q8_0.gguf") for request in server.requests) == 2


@pytest.mark.parametrize("text", ["hf:acme/tiny/tiny-Q8_0.gguf", "hf:acme/tiny:Q8_0"])
def test_what_arrives_must_have_the_hash_that_the_hub_states(server: HubServer, text: str) -> None:
    server.damaged.add("tiny-Q8_0.gguf")
    for _ in range(2):  # nothing of it is left in the cache
        with pytest.raises(InvalidModel, match=r"tiny-Q8_0\.gguf of acme/tiny is something else"):
            resolve(text)
    server.damaged.clear()
    assert resolve(text).path.read_bytes() == WHOLE


def pinned(revision: str, raws: dict[str, bytes]) -> Pin:
    return Pin(revision, {name: hashlib.sha256(raw).hexdigest() for name, raw in raws.items()})


def test_a_pinned_name_means_one_commit_and_one_hash(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalog.ModelEntry("tiny-s", "Tiny S", 0.001, "MIT", 0.001, repo="acme/tiny", quant="Q8_0")
    monkeypatch.setattr(catalog, "PINS", {"tiny-s": pinned(COMMIT, {"tiny-Q8_0.gguf": WHOLE})})
    path = entry.fetch()
    assert path.read_bytes() == WHOLE
    assert entry.local_path() == path
    assert any(f"/resolve/{COMMIT}/tiny-Q8_0.gguf" in request for request in server.requests)
    assert not any("/resolve/main/" in request for request in server.requests)
    # Another state in the cache is not the one that is meant, and what the hub sends instead is refused.
    monkeypatch.setattr(catalog, "PINS", {"tiny-s": pinned("f" * 40, {"tiny-Q8_0.gguf": b"another"})})
    with pytest.raises(ModelNotFound):
        entry.local_path()
    with pytest.raises(InvalidModel, match="is something else"):
        entry.fetch()


def test_a_pin_holds_for_all_parts(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalog.ModelEntry("big", "Big", 0.001, "MIT", 0.001, repo="acme/big", quant="Q4_K_M")
    monkeypatch.setattr(catalog, "PINS", {"big": pinned(COMMIT, SPLIT)})
    server.damaged.add("big-q4_k_m-00003-of-00003.gguf")
    with pytest.raises(InvalidModel, match="00003-of-00003"):
        entry.fetch()
    server.damaged.clear()
    assert entry.fetch().name == "big-q4_k_m-00001-of-00003.gguf"
    # Where the file system has no links, the folder's name tells.
    for file in entry.fetch().parent.iterdir():
        raw = file.read_bytes()
        file.unlink()
        file.write_bytes(raw)
    assert entry.local_path().name == "big-q4_k_m-00001-of-00003.gguf"


def test_a_catalog_name_is_fetched_and_its_draft_too(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    small = catalog.ModelEntry("tiny-s", "Tiny S", 0.001, "MIT", 0.001, repo="acme/tiny", quant="Q8_0")
    large = catalog.ModelEntry("tiny-l", "Tiny L", 0.002, "MIT", 0.002, repo="acme/big", quant="Q4_K_M")
    monkeypatch.setattr(catalog, "PAIRS", {"tiny-l": catalog.Pair(large, small)})
    monkeypatch.setattr("exsa_lab.models.resolve.PAIRS", catalog.PAIRS)
    with pytest.raises(ModelNotFound, match=r"Loading it downloads 0\.002 GB"):
        large.local_path()
    found = resolve("tiny-l")
    assert found.draft == "tiny-s"
    draft = resolve_draft("auto", found)
    assert draft is not None
    assert draft.path.name == "tiny-Q8_0.gguf"
    assert large.local_path() == found.path


# What goes wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf:acme/tiny/tiny-Q9_0.gguf", r"has no file tiny-Q9_0\.gguf\. Did you mean 'tiny-Q8_0\.gguf'"),
        ("hf:acme/tiny:Q2_K", r"has no Q2_K file\. Its GGUF files: mmproj.*tiny-Q4_K_M\.gguf"),
        ("hf:acme/none", "no model file that is the obvious choice.*none at all"),
        ("hf:acme/absent:Q4_0", "no repository acme/absent"),
        ("hf:acme/absent/a.gguf", "no repository acme/absent"),
    ],
)
def test_what_is_not_there(server: HubServer, text: str, message: str) -> None:
    with pytest.raises(ModelNotFound, match=message) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)


def test_a_gated_repository_says_what_to_do(server: HubServer) -> None:
    server.gated.add("acme/tiny")
    with pytest.raises(ModelNotFound, match="accept its licence"):
        resolve("hf:acme/tiny/tiny-Q8_0.gguf")


def test_no_connection(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for text in ("hf:acme/tiny/tiny-Q8_0.gguf", "hf:acme/tiny:Q8_0"):
        with pytest.raises(ModelNotFound, match="not in the cache and the hub cannot be reached") as caught:
            resolve(text)
        assert "\n" not in str(caught.value)


def test_offline_mode(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="not in the cache"):
        fetch(parse("hf:acme/tiny/tiny-Q8_0.gguf"))


def test_without_huggingface_hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelNotFound, match=re.escape("pip install huggingface-hub")):
        resolve("hf:acme/tiny:Q8_0")


# The catalog


def test_catalog_names_are_unique_and_drafts_are_smaller() -> None:
    entries = [entry for pair in catalog.PAIRS.values() for entry in (pair.target, pair.draft) if entry is not None]
    by_name = {entry.name: entry for entry in entries}
    assert all(by_name[entry.name] == entry for entry in entries)
    for pair in catalog.PAIRS.values():
        assert pair.draft is None or pair.draft.parameters < pair.target.parameters
    assert min(entry.parameters for entry in entries) < 0.1
    assert max(entry.parameters for entry in entries) > 70


def test_catalog_entries_name_a_source_and_a_licence() -> None:
    for pair in catalog.PAIRS.values():
        entry = pair.target
        assert entry.licence
        assert entry.gigabytes > 0
        assert bool(entry.repo) != bool(entry.file)
        if entry.hub_name is not None:
            assert hub.parse(str(entry.hub_name)) == entry.hub_name
            assert entry.quant.lower() in str(entry.hub_name).lower()
