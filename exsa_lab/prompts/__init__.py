"""Words in: from what a user wrote to the tokens of a prompt.

A reader goes messages (what a conversation is) -> marked (text that knows who wrote it) -> evaluate (a template's
program, bounded) -> template (one compiled template) -> known, pool, child (which of them run apart) -> special
(control tokens) -> encode (all of it together).
"""
