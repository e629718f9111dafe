"""Pins are well formed, belong to catalog names, and those of files at hand are right."""

from __future__ import annotations

import hashlib
import re

import pytest

from exsa_lab.errors import ModelNotFound
from exsa_lab.models.catalog import find_entry, is_installed
from exsa_lab.models.hub import parts_of
from exsa_lab.models.pins import PINS


@pytest.mark.parametrize("name", PINS)
def test_a_pin_names_a_commit_and_the_hash_of_every_part(name: str) -> None:
    entry, pin = find_entry(name), PINS[name]
    assert entry is not None
    assert re.fullmatch(r"[0-9a-f]{40}" if entry.repo else "", pin.revision)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in pin.hashes.values())
    assert list(pin.hashes) == parts_of(next(iter(pin.hashes)))
    if not entry.repo:
        assert list(pin.hashes) == [entry.file]


@pytest.mark.parametrize("name", [name for name in PINS if not PINS[name].revision])
def test_installed_files_are_the_pinned_ones(name: str) -> None:
    entry = find_entry(name)
    assert entry is not None
    try:
        path = entry.local_path()
    except ModelNotFound:
        pytest.skip("the package is not installed")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == PINS[name].hashes[entry.file]
    assert is_installed(path)
    assert not is_installed(path.parent)
