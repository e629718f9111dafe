"""A thought and the answer after it, told apart while the text still comes."""

from __future__ import annotations

from exsa_lab.prompts.thinking import Thinking


class ThoughtStream:
    """Splits a text that comes in pieces into (thought, answer), as `Thinking.split` does with the whole.

    What may still turn out to be part of a marker is held back until it is known.

    Example: of ``ThoughtStream(thinking)``, ``add("<think>Hm.</think>Yes")`` is ``("Hm.", "Yes")``.
    """

    def __init__(self, thinking: Thinking | None) -> None:
        self._begin, self._end, self._head = (thinking.begin, thinking.end, thinking.head) if thinking else ("", "", "")
        self._held = ""
        self._has_thought = False
        self._place = "answer" if thinking is None else "thought" if thinking.is_open else "head"

    def add(self, text: str) -> tuple[str, str]:
        """Take a piece; returns what of the thought and of the answer is certain by now."""
        self._held += text
        if self._place == "head":
            self._enter()
        thought = self._think() if self._place == "thought" else ""
        if self._place == "gap":
            self._leave()
        if self._place != "answer":
            return thought, ""
        answer, self._held = self._held, ""
        return thought, answer

    def finish(self) -> tuple[str, str]:
        """The text is over; returns what was held back."""
        held, self._held = self._held, ""
        if self._place == "thought":
            return held.rstrip() if self._has_thought else held.strip(), ""
        return "", held if self._place == "head" else ""

    def _enter(self) -> None:
        """Find out whether the text begins with a thought."""
        text = self._held.lstrip()
        if text.startswith(self._begin):
            self._place, self._held = "thought", text[len(self._begin) :]
        elif not self._begin.startswith(text):
            self._place = "answer"

    def _leave(self) -> None:
        """Find where the answer begins: after what it begins with, and after blanks."""
        self._held = self._held.lstrip()
        if not self._head.startswith(self._held):
            self._held = self._held.removeprefix(self._head).lstrip()
            self._head = ""
            self._place = "answer" if self._held else "gap"

    def _think(self) -> str:
        thought, marker, rest = self._held.partition(self._end)
        if marker:
            self._place, self._held = "gap", rest
            thought = thought.rstrip()
        else:
            num_held = next(n for n in range(len(self._end) - 1, -1, -1) if thought.endswith(self._end[:n]))
            thought = thought[: len(thought) - num_held].rstrip()
            self._held = self._held[len(thought) :]
        if not self._has_thought:
            thought = thought.lstrip()
            self._has_thought = bool(thought)
        return thought
