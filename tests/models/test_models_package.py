"""The package's own names are functions, whatever modules were imported before."""

from __future__ import annotations

import importlib

import pytest

import exsa_lab.models


@pytest.mark.parametrize("name", exsa_lab.models.__all__)
def test_names_are_callable(name: str) -> None:
    for module in ("advice", "conversion", "listing", "quality", "trial"):
        importlib.import_module(f"exsa_lab.models.{module}")
    assert callable(getattr(exsa_lab.models, name))


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'konvert'"):
        exsa_lab.models.konvert  # noqa: B018
