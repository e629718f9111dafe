"""The tokens tried in a playground."""

from __future__ import annotations

from exsa_lab.widgets.play_tree import ROOT, Tree


def tree() -> Tree:
    made = Tree()
    first = made.add(ROOT, 5, "a", 1.0)
    made.add(made.add(first, 6, "b", 0.5), 7, "c", 2.0)
    made.add(first, 8, "d", 3.0)
    return made


def test_a_path_is_a_text() -> None:
    assert tree().tokens(3) == [5, 6, 7]
    assert tree().tokens(4) == [5, 8]
    assert tree().tokens(ROOT) == []
    assert tree().next_tokens(1) == [6, 8]


def test_what_was_tried_is_followed_and_the_rest_is_new() -> None:
    assert tree().follow(ROOT, [5, 6, 9, 9]) == (2, [9, 9])
    assert tree().follow(1, [8]) == (4, [])
    assert tree().follow(4, []) == (4, [])


def test_places_lie_on_branches() -> None:
    assert tree().is_on_path(1, 4)
    assert not tree().is_on_path(2, 4)
    assert tree().is_on_path(ROOT, 3)
    assert 4 in tree()
    assert 5 not in tree()
    assert "4" not in tree()
    assert True not in tree()


def test_the_page_gets_every_node() -> None:
    assert tree().as_json()[3] == [4, 1, 8, "d", 3.0]
