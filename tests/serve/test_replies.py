"""Numbers of several generations together."""

from __future__ import annotations

from exsa_lab.serve.limits import Limits
from exsa_lab.serve.parameters import read_completion
from exsa_lab.serve.replies import extras, new_reply, usage
from exsa_lab.testing import scripted_engine
from tests.serve.parts import model


def test_prompts_are_counted_once_and_texts_all() -> None:
    request = read_completion({"prompt": ["abc", "a"], "n": 2}, Limits())
    with scripted_engine(model()) as engine:
        generations = [engine.generate(p, chat=False, max_tokens=4) for p in ("abc", "abc", "a", "a")]
        reply = new_reply(request, generations, "m", "cmpl")
        counted = usage(reply)
        assert counted["prompt_tokens"] == 4
        assert counted["completion_tokens"] == sum(len(gen.tokens) for gen in generations)
        own = extras(generations)
        assert own["rounds"] == sum(gen.stats.rounds for gen in generations)
        assert own["generations"] == [gen.id for gen in generations]
        drafted = sum(gen.stats.drafted_tokens for gen in generations)
        accepted = sum(gen.stats.accepted_tokens for gen in generations)
        assert own["acceptance"] == (accepted / drafted if drafted else None)
    assert reply.id.startswith("cmpl-")
    assert reply.id != new_reply(request, generations, "m", "cmpl").id
