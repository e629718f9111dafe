"""The engine on the default pair: what scripted models cannot show."""

from __future__ import annotations

import itertools
import math
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

import exsa_lab as xl
from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ExsaError, InvalidModel, ModelNotFound, OutOfMemory, PromptTooLong
from exsa_lab.events import TokenEvent
from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.speculation.sampling import apply_chain

pytestmark = pytest.mark.real

PROMPT = "Once upon a time"


@pytest.fixture
def engine() -> Engine:
    """The same engine for every test, unless the one before loaded another."""
    return xl.load(n_ctx=4096)


@pytest.fixture(autouse=True, scope="module")
def _unload() -> Iterator[None]:
    yield
    xl.unload()


def exact_joint(prompt: str, params: SamplingParams) -> dict[tuple[int, ...], float]:
    """Probabilities of the first three sampled tokens, from plain decodes that share no engine code."""
    model = LlamaModel(resolve("smollm2-135m").path, EngineConfig(n_ctx=512, n_seq_max=1))
    context = model.open_context(EngineConfig(n_ctx=512, n_seq_max=1), 2)
    batch = context.new_batch()
    start = model.tokenize(prompt, add_special=True, parse_special=False)

    def following(tokens: tuple[int, ...]) -> list[tuple[int, float]]:
        context.remove(0, 0)
        batch.clear()
        batch.add([*start, *tokens], 0, 0, 1)
        dist = apply_chain(context.decode(batch)[0], params)
        assert dist.ids is not None
        return list(zip(dist.ids.tolist(), dist.probs.tolist(), strict=True))

    joint = {(): 1.0}
    for _ in range(3):
        joint = {(*k, token): p * q for k, p in joint.items() for token, q in following(k)}
    context.close()
    model.close()
    return joint


@pytest.mark.parametrize("drafter", ["model", "ngram"])
def test_sampled_pairs_have_the_targets_joint_distribution(engine: Engine, drafter: str) -> None:
    """Tokens 2 and 3 come out of a draft-verify round; their joint must be what plain sampling would give."""
    setting = {"temperature": 1.0, "top_k": 3}
    joint = exact_joint(PROMPT, SamplingParams(**setting))
    count = 480
    gens = [
        engine.submit(PROMPT, chat=False, max_tokens=4, drafter=drafter, draft_length=2, seed=n, **setting)
        for n in range(count)
    ]
    for gen in gens:
        gen.result()
    seen = Counter(tuple(gen.tokens[:3]) for gen in gens)
    # The third and fourth best token can be so close that a batch of another shape swaps them.
    assert sum(times for tokens, times in seen.items() if tokens not in joint) <= count // 100
    if drafter == "model":
        assert sum(gen.stats.drafted_tokens for gen in gens) > count
    assert chi_square_z(joint, seen, count) < 4.0
    wrong = dict(zip(joint, sorted(joint.values()), strict=True))
    assert chi_square_z(wrong, seen, count) > 4.0, "the test could not tell a wrong distribution"


def chi_square_z(joint: dict[tuple[int, ...], float], seen: Counter[tuple[int, ...]], count: int) -> float:
    """Chi-square as a standard normal deviate (Wilson-Hilferty); rare outcomes are pooled."""
    common = [tokens for tokens, p in joint.items() if p * count >= 5]
    expected = [joint[tokens] * count for tokens in common]
    observed = [seen[tokens] for tokens in common]
    expected.append(count - sum(expected))
    observed.append(count - sum(observed))
    bins = [(o, e) for o, e in zip(observed, expected, strict=True) if e > 1e-9]
    statistic = sum((o - e) ** 2 / e for o, e in bins)
    degrees = len(bins) - 1
    return float(((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees)))


def test_a_seed_gives_the_same_text_in_any_company(engine: Engine) -> None:
    alone = engine.generate(PROMPT, chat=False, max_tokens=24, temperature=0.8, seed=7, draft_length=0)
    looked_up = engine.generate(PROMPT, chat=False, max_tokens=24, temperature=0.8, seed=7, drafter="ngram")
    # Numerics depend on the batch's shape, so a draw next to a boundary may differ; most of the text may not.
    pairs = zip(alone.tokens, looked_up.tokens, strict=False)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    assert same >= 12


def test_a_second_load_is_the_same_engine_and_memory_does_not_grow(engine: Engine) -> None:
    process = psutil.Process()
    assert xl.load(n_ctx=4096) is engine
    before = process.memory_info().rss
    for _ in range(20):
        assert xl.load(n_ctx=4096) is engine
    assert process.memory_info().rss - before < 4 << 20


MEMORY = """
import gc, psutil
import exsa_lab as xl

def rss():
    gc.collect()
    return psutil.Process().memory_info().rss >> 20

for _ in range(6):
    with xl.load(n_ctx=2048) as engine:
        engine.generate("Hello", max_tokens=4)
        loaded = rss()
    xl.unload()
    print(loaded, rss())
"""


def test_closing_gives_the_memory_back() -> None:
    # In a process of its own: what other tests left in this one would be part of the measurement.
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=300)
    print(result.stdout)
    rounds = [[int(number) for number in line.split()] for line in result.stdout.splitlines()]
    assert rounds[-1][0] - rounds[-1][1] > 100, "the weights and caches are still there"
    # The first rounds fill what the allocator and the library keep for good; after them nothing may grow.
    assert rounds[-1][1] - rounds[2][1] < 16


def test_an_interrupt_in_a_long_prefill_stops_it_and_the_next_prompt_works() -> None:
    engine = xl.load(n_ctx=4096, step_tokens=2048)
    long = "word " * 2000
    stopped: list[float] = []

    def interrupt() -> None:
        while not (engine.generations and engine.generations[-1].prompt == long and engine._worker._loop._in_decode):
            time.sleep(0.001)
        stopped.append(time.perf_counter())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        engine.generate(long, chat=False, max_tokens=5)
    seconds = time.perf_counter() - stopped[0]
    helper.join()
    print(f"interrupted a 2,000-token prefill after {seconds * 1000:.0f} ms")
    gen = engine.generations[-1]
    assert gen.state == "cancelled"
    assert gen.tokens == []
    assert engine.generate("Say hello.", max_tokens=8).state == "finished"
    assert engine.status().slots_used == 0


def test_the_engine_reports_what_it_cannot_do_and_keeps_serving(engine: Engine, tmp_path: object) -> None:
    engine = xl.load(n_ctx=4096)
    model = resolve("smollm2-135m").path
    not_gguf, short = f"{tmp_path}/text.gguf", f"{tmp_path}/short.gguf"
    with open(not_gguf, "wb") as file:
        file.write(b"hello" * 100)
    with open(short, "wb") as file:
        file.write(model.read_bytes()[: 1 << 20])
    for path, error in [
        (f"{tmp_path}/none.gguf", ModelNotFound),
        (not_gguf, InvalidModel),
        (short, InvalidModel),
    ]:
        with pytest.raises(error) as caught:
            xl.load(path)
        assert "\n" not in str(caught.value)
        assert xl.get_engine() is engine
    with pytest.raises(PromptTooLong, match="context holds 4,096"):
        engine.generate("word " * 5000, chat=False)
    assert engine.generate("Say hello.", max_tokens=8).state == "finished"


def test_too_much_memory_is_one_clear_line_and_nothing_stays_behind() -> None:
    before = set(threading.enumerate())
    with pytest.raises((OutOfMemory, ExsaError)):
        xl.load(n_ctx=1 << 24, n_seq_max=256, n_batch=4096, step_tokens=4096)
    assert not set(threading.enumerate()) - before
    assert xl.load(n_ctx=2048).generate("Say hello.", max_tokens=4).state == "finished"


def test_logits_are_views_of_the_librarys_memory(engine: Engine) -> None:
    rows = engine.call(lambda loop: loop.context.decode(_one_token(loop.context)))
    assert rows.base is not None
    assert rows.shape == (1, engine.target.vocab_size)
    assert rows.dtype == np.float32
    engine.call(lambda loop: loop.context.remove(0, 0))


def _one_token(context: object) -> object:
    batch = context.new_batch()  # type: ignore[attr-defined]
    batch.add([1], 0, 0, 1)
    return batch


@pytest.mark.parametrize("chain", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 3, "drafter": "ngram"}], ids=str)
def test_alternatives_of_a_drafted_text_are_those_of_plain_decoding(engine: Engine, chain: dict[str, Any]) -> None:
    common = {"max_tokens": 48, "top_logprobs": 5, "prompt_logprobs": 3, **chain}
    plain = engine.generate("Name three primary colours.", **common | {"draft_length": 0})
    drafted = engine.generate("Name three primary colours.", **{"draft_length": 4, **common})
    assert drafted.tokens == plain.tokens
    assert drafted.stats.drafted_tokens > 0
    pairs = [
        *zip(*([e for e in g.events if isinstance(e, TokenEvent)] for g in (plain, drafted)), strict=True),
        *zip(plain.prompt_logprobs, drafted.prompt_logprobs, strict=True),
    ]
    for one, other in pairs:
        assert one.logprob == pytest.approx(other.logprob, abs=0.05)
        # Rounding differs with the size of a batch: near equals may change places.
        clear = [a.token_id for a, b in itertools.pairwise(one.top) if a.raw > 1.05 * b.raw + 1e-4]
        assert set(clear) <= {a.token_id for a in other.top}
        found = {a.token_id: a for a in other.top}
        for alternative in one.top:
            if alternative.token_id in found:
                assert alternative.raw == pytest.approx(found[alternative.token_id].raw, abs=0.02)
                if alternative.p is not None and not chain:
                    assert alternative.p == pytest.approx(alternative.raw, rel=1e-4)


def test_recorded_probabilities_are_a_direct_softmax_of_the_targets_logits(engine: Engine) -> None:
    gen = engine.generate(PROMPT, chat=False, max_tokens=24, top_logprobs=5, temperature=0.7, seed=2)
    places = gen.positions()
    for event in (event for event in gen.events if isinstance(event, TokenEvent)):
        raw = places.p(event.position)
        order = np.argsort(-raw.probs, kind="stable")[:5]
        assert [other.raw for other in event.top] == pytest.approx(raw.probs[order].tolist(), abs=0.02)
        assert event.entropy == pytest.approx(-float((raw.probs * np.log2(raw.probs)).sum()), abs=0.1)
        after = places.p(event.position, temperature=0.7)
        assert [other.p for other in event.top] == pytest.approx(
            [after.probability(other.token_id) for other in event.top], abs=0.02
        )


def test_a_branch_is_at_once_where_its_text_left_off(engine: Engine) -> None:
    gen = engine.generate("Name three primary colours.", max_tokens=40, top_logprobs=3)
    place = next(e for e in gen.events if isinstance(e, TokenEvent) and e.position == 6)
    other = next(a for a in place.top if a.token_id != place.token_id)
    branch = gen.branch(6, other.token_id)
    branch.wait(60)
    assert branch.tokens[:7] == [*gen.tokens[:6], other.token_id]
    assert branch.text.startswith("".join(e.text for e in gen.events if isinstance(e, TokenEvent) and e.position < 5))
    assert branch.stats.cached_prompt_tokens >= len(gen.prompt_ids) + 5
    runner_up = gen.branch(6)
    runner_up.wait(60)
    assert runner_up.tokens[6] == other.token_id
    assert runner_up.tokens == branch.tokens
    same = gen.branch(6, place.text)
    same.wait(60)
    assert same.tokens == gen.tokens
