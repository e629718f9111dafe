"""What ``import exsa_lab`` offers is written down, sorted and complete."""

from __future__ import annotations

import inspect

import pytest

import exsa_lab
from exsa_lab import errors, testing


def test_all_is_sorted_and_unique() -> None:
    assert exsa_lab.__all__ == sorted(set(exsa_lab.__all__))
    assert testing.__all__ == sorted(set(testing.__all__))


@pytest.mark.parametrize("name", exsa_lab.__all__)
def test_every_member_exists_and_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(exsa_lab, name))


def test_all_is_complete() -> None:
    public = {name for name in exsa_lab._HOMES if not name.startswith("_")}

    assert public <= set(exsa_lab.__all__)
    assert set(exsa_lab.__all__) <= set(dir(exsa_lab))


def test_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Loader'"):
        exsa_lab.Loader  # noqa: B018


def test_every_error_is_in_the_tree() -> None:
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}

    assert errors.__doc__ is not None
    for name, value in classes.items():
        assert issubclass(value, errors.ExsaError)
        assert name in errors.__doc__
        error = value("it broke.", hint="Fix it.")
        assert str(error) == "it broke. Fix it."
