"""A picture inside a page: what it says is text, and what it shows is the SVG that was given."""

from __future__ import annotations

import base64
import re

from exsa_lab.pictures import as_image


def test_what_it_says_closes_no_attribute() -> None:
    image = as_image("<svg/>", '"><script>alert(1)</script>')
    assert "<script" not in image
    assert image.count("<") == 1


def test_what_it_shows_is_what_was_given() -> None:
    svg = "<svg>é</svg>"
    found = re.search(r'base64,([^"]+)', as_image(svg, "", style="height:1em"))
    assert found is not None
    assert base64.b64decode(found[1]).decode() == svg
