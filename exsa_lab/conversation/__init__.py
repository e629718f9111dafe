"""Conversations: a history that goes on with each question.

A reader goes turns (what was asked and answered, as values) -> chat (one conversation) -> reading (how it is shown) ->
cells (which cell of a notebook asked which turn).
"""

from __future__ import annotations

from exsa_lab.conversation.chat import Chat
from exsa_lab.conversation.turns import Reply, Turn

__all__ = ["Chat", "Reply", "Turn"]
