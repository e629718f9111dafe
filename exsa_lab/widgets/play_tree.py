"""The tokens tried in a playground: a tree, whose paths are texts. One owner, the playground; no model, no page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ROOT = 0
"""The end of the prompt."""


class Tree:
    """Nodes are numbers in the order they were added; each but `ROOT` is a token after another node.

    Example::

        tree = Tree()
        tree.add(tree.add(ROOT, 5, "a", 1.0), 6, "b", 0.5)
        tree.tokens(2)  # [5, 6]
    """

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.token: dict[int, int] = {}
        self.text: dict[int, str] = {}
        self.bits: dict[int, float] = {}

    def __contains__(self, node: object) -> bool:
        return type(node) is int and (node == ROOT or node in self.parent)

    def add(self, parent: int, token: int, text: str, bits: float) -> int:
        """Add a token after ``parent``; returns the new node."""
        node = len(self.parent) + 1
        self.parent[node], self.token[node], self.text[node], self.bits[node] = parent, token, text, bits
        return node

    def path(self, node: int) -> list[int]:
        """The nodes from the first token to this one."""
        found = []
        while node != ROOT:
            found.append(node)
            node = self.parent[node]
        return found[::-1]

    def tokens(self, node: int) -> list[int]:
        return [self.token[one] for one in self.path(node)]

    def next_tokens(self, node: int) -> list[int]:
        """The tokens that were tried after this node."""
        return [self.token[child] for child, parent in self.parent.items() if parent == node]

    def follow(self, node: int, tokens: Sequence[int]) -> tuple[int, list[int]]:
        """Go along ``tokens`` as far as they were tried; returns where that ends, and the tokens left."""
        for count, token in enumerate(tokens):
            child = next((c for c, parent in self.parent.items() if parent == node and self.token[c] == token), None)
            if child is None:
                return node, list(tokens[count:])
            node = child
        return node, []

    def is_on_path(self, node: int, end: int) -> bool:
        """Whether ``node`` lies on the way to ``end``."""
        return node == ROOT or node in self.path(end)

    def as_json(self) -> list[list[Any]]:
        """``[id, parent, token, text, bits]`` of each node."""
        return [[n, self.parent[n], self.token[n], self.text[n], round(self.bits[n], 4)] for n in self.parent]
