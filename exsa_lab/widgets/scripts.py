"""The page side of widgets that consist of several files."""

from __future__ import annotations

import json
import os
import re
from html import escape
from pathlib import Path
from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
_IMPORTED = re.compile(r' from "\./(\w+\.js)";$', re.MULTILINE)


def read_script(name: str) -> str:
    """Return an ES module with all that it imports of its neighbours, as one script with the same default export."""
    call = f"load({json.dumps(_texts(name), ensure_ascii=False)}, {json.dumps(name)})"
    return f"{_read('loader.js')}\nexport default (await {call}).default;\n"


def read_inline(name: str) -> str:
    """Return an ES module with all that it imports as one classic script: an expression, its default export.

    A page without a kernel holds it as text of its own, which a strict content security policy can name by its hash;
    modules by address it could not.
    """
    parts = [f'modules["{other}"] = {_as_function(text)};' for other, text in reversed(_in_order(name).items())]
    return "(() => {\n" + "\n".join(["const modules = {};", *parts, f'return modules["{name}"].default;']) + "\n})()"


def _in_order(name: str) -> dict[str, str]:
    """The texts of a module and of all that it imports; a module stands before those that it imports."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        found.pop(name, None)  # it moves behind the one that imports it
        found[name] = _read(name)
        for other in _IMPORTED.findall(found[name]):
            add(other)

    add(name)
    return found


def _as_function(text: str) -> str:
    """A module as a function that is called at once and returns what it exports."""
    text = _IMPORT.sub(lambda found: f'const {{{found[1].replace(" as ", ": ")}}} = modules["{found[2]}"];', text)
    names = [found[1] for found in _EXPORT.finditer(text)]
    text = _EXPORT.sub(lambda found: found[0].removeprefix("export "), text)
    if "export default " in text:
        text, names = text.replace("export default ", "const byDefault = "), [*names, "default: byDefault"]
    return f'(() => {{\n"use strict";\n{text}return {{ {", ".join(names)} }};\n}})()'


def _texts(name: str) -> dict[str, str]:
    """The texts of a module and of all that it imports, by their names."""
    text = _read(name)
    found = {name: text}
    for other in _IMPORTED.findall(text):
        found |= _texts(other)
    return found


def read_styles(*names: str) -> str:
    """Return style sheets as one, after those that all widgets share."""
    return "\n".join(map(_read, ("palette.css", "common.css", *names)))


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def live_bundle(html: str, text: str, view_id: str, model_id: str, *, is_final: bool = False) -> dict[str, Any]:
    """Return a display's data: static views, which a page that has this widget replaces by it (common.js).

    A saved notebook that names a widget shows only "model not found" once its kernel is gone, even if it carries HTML
    too. So the widget is named only for readers that start no widget otherwise, and not where it ``is_final``.
    """
    bundle: dict[str, Any] = {"text/html": in_view(html, view_id), "text/plain": text}
    if not is_final and ("VSCODE_PID" in os.environ or "COLAB_NOTEBOOK_ID" in os.environ):
        bundle[WIDGET_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": model_id}
    return bundle


def in_view(html: str, view_id: str) -> str:
    """Return the HTML in the element that a page replaces by the live view of this id."""
    return f'<exsa-view data-view="{escape(view_id)}">{html}</exsa-view>'
