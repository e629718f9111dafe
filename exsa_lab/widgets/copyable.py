"""Texts to take along: shown when asked for, each with a button that copies it."""

from __future__ import annotations

import anywidget
import traitlets

from exsa_lab.widgets.scripts import read_script, read_styles


class Copyable(anywidget.AnyWidget):
    """Buttons that copy texts, and the texts themselves, folded away.

    Example::

        Copyable(title="The code of this setting", texts=[["as Python", "1 + 1"]])
    """

    _esm = read_script("copyable.js")
    _css = read_styles("copyable.css")

    title = traitlets.Unicode().tag(sync=True)
    """What unfolds the texts."""
    texts = traitlets.List().tag(sync=True)
    """Pairs of a name, which follows "Copy" on its button, and a text."""
