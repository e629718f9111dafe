"""Sixty prompts no draft is trained on: twenty each of chat, code and story. Written for measuring acceptance."""

from __future__ import annotations

from exsa_lab.files import read_data

HELD_OUT: dict[str, tuple[str, ...]] = {
    kind: tuple(prompts) for kind, prompts in read_data("exsa_lab.distill", "held_out.json").items()
}
"""Prompts by kind, twenty of each."""
