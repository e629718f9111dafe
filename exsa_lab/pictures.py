"""Pictures for pages that run no script: an SVG inside an ``img``, which the sanitizers of notebooks leave alone.

A picture cannot know the page's theme: its colours are mid-tones of some 3:1 on white and on near-black, and text in it
stands on paper of its own. Nothing relies on colours alone.
"""

from __future__ import annotations

import base64
from html import escape

GREY, GREEN, BLUE, ORANGE = "#84888d", "#1f9d78", "#3d8ad0", "#d9702a"
INK, PAPER = "#4b5057", "#fff"
"""Text, and what it stands on."""
GROUND = (
    f"<style>text{{font:11px system-ui,sans-serif;fill:{INK}}}</style>"
    f'<rect width="100%" height="100%" rx="4" fill="{PAPER}"/>'
)
"""What a picture with text in it begins with."""


def as_image(svg: str, alt: str, *, style: str = "max-width:100%") -> str:
    """Return an SVG document as an ``img``; ``alt`` says what it shows, and is escaped here.

    Example:
        >>> as_image("<svg/>", "a < b")
        '<img alt="a &lt; b" src="data:image/svg+xml;base64,PHN2Zy8+" style="max-width:100%">'
    """
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}" style="{style}">'
