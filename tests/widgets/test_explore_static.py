"""The explorer's static view: the picture's text has contrast of its own, points say how sure they are."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

from exsa_lab.costs.recorded import RECORDED_MACHINES
from exsa_lab.trace.measured import MeasuredSpeed
from exsa_lab.trace.what_if import WhatIf
from exsa_lab.widgets.explore_static import point_text, static_html, static_text

POINTS = [MeasuredSpeed("k = 2", 2, 0.9, 0.85, 0.96, 3, 0.7), MeasuredSpeed("<i>auto", 4.5, 1.2, 1.2, 1.2, 1, 0.8)]


def setting(k: int = 4) -> WhatIf:
    return WhatIf(RECORDED_MACHINES[-1].costs(10), 0.7, k)


def picture(html: str) -> ElementTree.Element:
    data = re.search(r"data:image/svg\+xml;base64,([^\"]+)", html)
    assert data is not None
    return ElementTree.fromstring(base64.b64decode(data[1]))


def test_the_picture_has_a_dot_for_each_length_and_a_square_for_each_point() -> None:
    svg = picture(static_html("H100", setting(), POINTS, "plain"))
    tags = [element.tag.split("}")[1] for element in svg.iter()]
    assert tags.count("circle") == 17 + 1
    assert tags.count("rect") == 1 + len(POINTS)
    texts = [element.text or "" for element in svg.iter() if element.tag.endswith("text")]
    assert "break even: plain decoding" in texts
    assert (
        f"best: k = {setting().best_length}, x{WhatIf(setting().costs, 0.7, setting().best_length).speed_up:.2f}"
        in texts
    )


def test_all_texts_are_escaped() -> None:
    html = static_html("<b>machine", setting(), POINTS, "<u>plain")
    assert "&lt;b&gt;machine" in html
    assert "&lt;u&gt;plain" in html
    assert not re.search(r"<[bui]>", html)


def test_every_point_says_how_many_runs_it_is() -> None:
    assert point_text(POINTS[0]) == "k = 2 x0.90 (0.85 to 0.96 in 3 runs, 70% of tested accepted)"
    assert point_text(POINTS[1]).startswith("<i>auto x1.20 (1 run,")


def test_a_draft_that_cannot_pay_is_said_to_be_one() -> None:
    costs = RECORDED_MACHINES[0].costs()
    text = static_text("2 CPU cores", WhatIf(costs, 0.9, 4, num_sequences=1), [], "")
    assert "Not even a perfect draft breaks even." in text
    assert "It breaks even at" in static_text("H100", setting(), [], "")
