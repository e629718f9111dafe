"""What the kernel sends a page is counted as Jupyter server counts it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import main
from benchmarks.ui import NO_VIEW, VIEWS, busiest, server_limits


def test_the_busiest_window_is_found_wherever_it_lies() -> None:
    arrivals = [(0.0, 10), (5.0, 1), (5.5, 2), (6.0, 300), (6.9, 1), (20.0, 5)]
    assert busiest(arrivals, 2.0) == (4 / 2.0, 304 / 2.0)
    assert busiest(arrivals, 100.0) == (6 / 100.0, 319 / 100.0)
    assert busiest([], 3.0) == (0.0, 0.0)


def test_a_message_leaves_the_window_when_it_is_over() -> None:
    assert busiest([(0.0, 7), (3.0, 7)], 3.0) == (1 / 3.0, 7 / 3.0)


def test_the_limits_are_those_of_the_server_here() -> None:
    channels = importlib.import_module("jupyter_server.services.kernels.connection.channels")
    messages, size = (
        getattr(channels.ZMQChannelsWebsocketConnection, name).default_value
        for name in ("iopub_msg_rate_limit", "iopub_data_rate_limit")
    )
    assert server_limits()[1:] == (messages, size)


@pytest.mark.real
def test_both_ways_are_measured_and_only_the_views_send(tmp_path: Path) -> None:
    assert main(["ui", "--quick", "--json", str(tmp_path / "out.json")]) == 0
    (report,) = json.loads((tmp_path / "out.json").read_text())
    watched, plain = report["tables"][0]["rows"]
    assert (watched["view"], plain["view"]) == (VIEWS, NO_VIEW)
    assert min(watched["tok/s"]["low"], plain["tok/s"]["low"]) > 0
    assert watched["messages/s"] > plain["messages/s"] > 0
    assert watched["kB/s"] > plain["kB/s"] > 0
