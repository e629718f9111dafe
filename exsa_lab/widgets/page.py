"""Recorded runs as one web page that needs nothing else: no kernel, no network, no other file.

Its script and its style are named by their hashes in a content security policy that allows nothing else, not even that
the page loads a picture. Runs are data in a JSON block, and become text nodes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from exsa_lab import files
from exsa_lab.widgets.rows import REJECTED_KINDS, visible
from exsa_lab.widgets.scripts import read_inline, read_styles

_STYLES = ("player.css", "marked.css", "token_strip.css", "step_through.css", "race.css", "page.css")
_CALL = 'JSON.parse(document.getElementById("exsa-runs").textContent), document.getElementById("exsa")'


def write_page(path: str | Path, title: str, runs: Sequence[Mapping[str, Any]], verdict: Sequence[str] = ()) -> Path:
    """Write a page of runs (see `run_of`), whole or not at all; returns the path.

    Raises ConfigError where that fails.
    """
    path = files.expand(path)
    with files.as_config_error(f"the page could not be saved as {path}", hint="Is there room, and may you write?"):
        return files.write_bytes(path, page_html(title, runs, verdict).encode("utf-8", "replace"))


def page_html(title: str, runs: Sequence[Mapping[str, Any]], verdict: Sequence[str] = ()) -> str:
    """Return the page; several runs, which then have names, also race."""
    title = visible(" ".join(title.split()))
    script, style = f"{read_inline('page.js')}({_CALL});", read_styles(*_STYLES)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    data = _in_script({"title": title, "runs": list(runs), "verdict": list(verdict)})
    texts = "\n\n".join(map(_text_of, runs))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f'<body class="exsa exsa-page"><main id="exsa"></main><noscript><pre>{escape(texts)}</pre></noscript>\n'
        f'<script type="application/json" id="exsa-runs">{data}</script>\n<script>{script}</script></body></html>\n'
    )


def _in_script(data: Any) -> str:
    """JSON that no HTML parser takes for markup, whatever a model wrote."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _text_of(run: Mapping[str, Any]) -> str:
    return "".join(row[2] for row in run["rows"] if row[0] != "R" and row[0] not in REJECTED_KINDS)
