"""Every kind of memory that llama.cpp has, with all that the engine does to it, against llama.cpp alone.

The models are a few layers of random weights (`tests.models.architectures`), the expected tokens those of
`exsa_lab.bench.baselines.bare`, which shares no code with the engine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exsa_lab.bench.baselines.bare import BareLoop
from exsa_lab.bench.equivalence import divergences
from exsa_lab.config import EngineConfig
from exsa_lab.costs.measure import ENOUGH_POINTS
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import DecodeError, InvalidModel, ModelLoadError, PromptTooLong
from exsa_lab.events import RejectedEvent, RoundEvent, TokenEvent
from exsa_lab.loading import find_files, prepare
from exsa_lab.models.conversion import convert
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Batch, Context, Logits
from tests.gate import held
from tests.models.architectures import DECODERS, RECURRENT, ROLL_BACK, SAID, write_model
from tests.models.memory_checks import check_memory

CELLS, SEQUENCES, TOKENS = 1024, 4, 48
MIB = 1 << 20
NEAR_TIE = 0.05
"""Largest margin of the two best logits, of some 5, that another shape of a batch may turn over."""
DRAFTERS = ("ngram", "model")


def text(length: int, seed: int = 0) -> str:
    """Random letters of those that the models say, so that pairs of them come again."""
    return "".join(random.Random(seed).choices(SAID.decode(), k=length))


@pytest.fixture(scope="module", params=DECODERS)
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def files(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A target, and a draft that agrees with it now and then."""
    folder = tmp_path_factory.mktemp(architecture)
    target = write_model(folder / f"{architecture}.gguf", architecture)
    return target, write_model(folder / f"{architecture}-draft.gguf", architecture, noise=0.1)


def open_engine(target: Path, draft: Path | None = None, **settings: int) -> Engine:
    config = EngineConfig(**{"n_ctx": CELLS, "n_seq_max": SEQUENCES, **settings})  # type: ignore[arg-type]
    return Engine(prepare(str(target), str(draft) if draft else None, config), config)


@pytest.fixture(scope="module")
def engine(files: tuple[Path, Path]) -> Iterator[Engine]:
    with open_engine(*files) as engine:
        yield engine


@pytest.fixture(scope="module")
def loop(files: tuple[Path, Path]) -> Iterator[BareLoop]:
    with BareLoop(files[0], EngineConfig(n_ctx=CELLS, n_seq_max=1), 2) as loop:
        yield loop


def check(loop: BareLoop, generations: list[Generation]) -> None:
    """Each has exactly the tokens of llama.cpp alone, but for near ties."""
    runs = [
        loop.generate(generation.prompt_ids, max(1, len(generation.tokens)), with_margins=True)
        for generation in generations
    ]
    found = list(divergences(runs, [generation.tokens for generation in generations]))
    assert all(one.margin < NEAR_TIE for one in found), found


def ask(engine: Engine, prompt: str, **params: object) -> Generation:
    settings = {"chat": False, "max_tokens": TOKENS, "draft_length": 0, **params}
    return engine.generate(prompt, **settings)


def test_it_loads_and_its_steps_are_measured(architecture: str, engine: Engine) -> None:
    costs = engine.call(lambda loop: loop.drafting.costs)
    assert costs is not None
    assert len(costs.target.points) >= ENOUGH_POINTS
    rolls_back = architecture not in RECURRENT or architecture in ROLL_BACK
    notes = [note for note in engine.notes if "busy" not in note.lower()]  # other tests may run beside
    assert [("roll back" in note, "not loaded" in note) for note in notes] == [(True, True)] * (not rolls_back)
    assert (engine.draft is not None) == rolls_back
    assert engine.status().max_draft_length == (8 if architecture in ROLL_BACK else 16 * rolls_back)


def test_plain_text_is_that_of_llama_cpp_and_repeats(engine: Engine, loop: BareLoop) -> None:
    first, second = (ask(engine, text(50)) for _ in range(2))
    assert len(first.tokens) == TOKENS
    assert len(set(first.tokens)) > 2
    assert first.tokens == second.tokens
    check(loop, [first])


def test_a_cached_beginning_changes_nothing(engine: Engine, loop: BareLoop) -> None:
    beginning = text(300, seed=1)
    first = ask(engine, beginning)
    again, longer = ask(engine, beginning), ask(engine, beginning + text(20, seed=2))
    assert first.stats.cached_prompt_tokens == 0
    assert again.stats.cached_prompt_tokens == len(again.prompt_ids) - 1
    assert longer.stats.cached_prompt_tokens >= len(again.prompt_ids) - 1
    check(loop, [first, again, longer])


def test_a_shared_beginning_of_a_thousand_tokens_is_hardly_read_again(files: tuple[Path, Path]) -> None:
    """Not a fifteenth of it, where a question follows a document."""
    with open_engine(*files, n_ctx=2 * CELLS) as engine:
        beginning = text(1000, seed=1)
        first, second = (ask(engine, beginning + text(20, seed=i), max_tokens=2) for i in (2, 3))
        assert first.stats.cached_prompt_tokens == 0
        assert second.stats.cached_prompt_tokens > 14 / 15 * len(second.prompt_ids)


def test_a_text_is_gone_on_with(engine: Engine, loop: BareLoop) -> None:
    """As a chat's next turn does, after drafts that were taken back."""
    prompt = text(100, seed=3)
    for turn in range(3):
        generation = ask(engine, prompt, draft_length="auto" if turn % 2 else 3, drafter="ngram", max_tokens=30)
        check(loop, [generation])
        prompt += generation.text + text(10, seed=turn)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_drafts_leave_the_text_as_it_is(architecture: str, engine: Engine, loop: BareLoop, drafter: str) -> None:
    can_draft = architecture not in RECURRENT or architecture in ROLL_BACK
    # One length more says nothing new where any number of tokens can be taken back, or none.
    for length in range(1, 9) if architecture in ROLL_BACK else (1, 4, 8):
        generation = ask(engine, text(120, seed=4), drafter=drafter, draft_length=length)
        check(loop, [generation])
        assert (generation.stats.drafted_tokens > 0) == can_draft


def test_four_at_once_are_as_each_alone(engine: Engine, loop: BareLoop) -> None:
    settings = [{"draft_length": 0}, {"drafter": "ngram"}, {"drafter": "model"}, {"draft_length": "auto"}] * 2
    with held(engine):
        generations = [
            engine.submit(text(40 + 9 * i, seed=i), chat=False, max_tokens=TOKENS, **({"draft_length": 1 + i} | params))  # type: ignore[arg-type]
            for i, params in enumerate(settings)
        ]
    assert all(generation.wait(60) for generation in generations)
    check(loop, generations)


def test_who_is_cancelled_takes_nothing_from_the_others(engine: Engine, loop: BareLoop) -> None:
    stopped = engine.submit(text(400, seed=5), chat=False, max_tokens=500, draft_length=2)
    others = [
        engine.submit(text(60, seed=i), chat=False, max_tokens=TOKENS, drafter=drafter, draft_length=4)
        for i, drafter in enumerate(DRAFTERS)
    ]
    while not others[0].tokens and not others[0].state.is_final:
        others[0].wait(0.001)
    stopped.cancel()
    assert all(generation.wait(60) for generation in others)
    check(loop, others)
    check(loop, [ask(engine, text(60, seed=5), draft_length=3)])


def test_a_full_cache_preempts_and_the_texts_stay_right(files: tuple[Path, Path], loop: BareLoop) -> None:
    with open_engine(*files, n_ctx=256) as small:
        with held(small):
            generations = [
                small.submit(text(40, seed=i), chat=False, max_tokens=100, drafter=DRAFTERS[i % 2], draft_length=2)
                for i in range(4)
            ]
        assert all(generation.wait(60) for generation in generations)
        assert sum(generation.stats.preemptions for generation in generations) > 0
        check(loop, generations)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2_window", "mamba", *ROLL_BACK], indirect=True)
def test_what_is_cached_of_many_texts_is_right(files: tuple[Path, Path], loop: BareLoop) -> None:
    """Drafts of many lengths in one step, and beginnings of texts that others took cells from since."""
    lengths = (140, 7, 61, 57, 6, 36, 42, 30)
    settings = [{"draft_length": 8}, {"drafter": "ngram", "draft_length": 5}, {"draft_length": 0}, {"draft_length": 2}]
    beginnings = [text(length, seed=i) for i, length in enumerate(lengths)]
    with open_engine(*files, n_ctx=400, small_step=63, prefix_cache_tokens=200) as small:
        for turn in range(2):
            with held(small):
                generations = [
                    small.submit(each, chat=False, max_tokens=(7, 70, 33)[i % 3], **settings[(i + turn) % 4])  # type: ignore[arg-type]
                    for i, each in enumerate(beginnings)
                ]
            assert all(generation.wait(60) for generation in generations)
            check(loop, generations)
            beginnings = [(beginnings[-1 - i] + text(9, seed=turn))[: 60 + 10 * i] for i in range(len(beginnings))]


@pytest.mark.parametrize("architecture", ["llama", *ROLL_BACK], indirect=True)
def test_reproducible_steps_round_alike_beside_a_prompt_that_is_read(files: tuple[Path, Path]) -> None:
    found = []
    for num in (1, 4):
        with open_engine(files[0], n_ctx=CELLS * 2, small_step=63, reproducible=True) as small:
            first = small.submit(text(300), chat=False, max_tokens=TOKENS, draft_length=0, top_logprobs=1)
            while first.stats.generated_tokens < 3:
                time.sleep(0.001)
            others = [small.submit(text(200, seed=i), chat=False, max_tokens=2, draft_length=0) for i in range(1, num)]
            assert all(each.wait(60) for each in (first, *others))
            assert all(each.error is None for each in (first, *others))
            found.append([event.logprob for event in first.events if isinstance(event, TokenEvent)])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "granitehybrid", *ROLL_BACK], indirect=True)
def test_reproducible_texts_are_to_the_bit_those_of_each_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Greedy and sampled, drafted, cached, and in company that comes, goes and is cancelled.

    llama.cpp computes Q8_0 weights alike in a batch of any shape; what is left to go wrong is attention.
    """
    prompts = [text(length, seed=length) for length in (40, 100, 160, 220, 316, 340)]
    prompts += [prompts[5][:250] + text(60), prompts[5] + text(40)]
    lengths = (40, 3, 24, 8) * 2
    params = [{"temperature": i % 2, "seed": i, "top_logprobs": 1, "max_tokens": n} for i, n in enumerate(lengths)]
    target = convert(files[0], "q8_0", folder=tmp_path)
    settings = {"n_ctx": 3 * CELLS, "n_ubatch": 63, "prefix_cache_tokens": 3 * CELLS, "fast_cells": 0}
    with open_engine(target, reproducible=True, **settings) as engine:
        alone = [ask(engine, prompt, **each) for prompt, each in zip(prompts, params, strict=True)]
        drafted = [
            ask(engine, prompt, **each | {"drafter": "ngram", "draft_length": 1 + i})
            for i, (prompt, each) in enumerate(zip(prompts, params, strict=True))
        ]
        check_alike(alone, drafted)
        for seed in range(3):
            order = random.Random(seed).sample(range(8), 8)
            with held(engine):
                company = {
                    i: engine.submit(prompts[i], chat=False, **params[i] | {"draft_length": seed, "drafter": "ngram"})
                    for i in order
                }
            stopped = company[order[1]]
            while not stopped.tokens and not stopped.state.is_final:
                stopped.wait(0.001)
            stopped.cancel()
            assert all(each.wait(60) for each in company.values())
            check_alike(alone, [company[i] for i in range(8)])


def check_alike(expected: list[Generation], found: list[Generation]) -> None:
    """Each has the same tokens, with the same probabilities to the last bit, as far as it came."""
    for one, other in zip(expected, found, strict=True):
        pairs = [[(e.token_id, e.logprob) for e in each.events if isinstance(e, TokenEvent)] for each in (one, other)]
        assert pairs[1] == pairs[0][: len(pairs[1])]
        assert len(pairs[1]) == len(pairs[0]) or other.finish_reason == "cancelled"


def test_a_context_that_fills_up_ends_the_text(files: tuple[Path, Path], loop: BareLoop) -> None:
    with open_engine(*files, n_ctx=256) as small:
        full = ask(small, text(200), max_tokens=500, draft_length="auto")
        assert full.finish_reason == "length"
        assert len(full.prompt_ids) + len(full.tokens) in (small.config.n_ctx, small.config.n_ctx + 1)
        check(loop, [full])
        with pytest.raises(PromptTooLong):
            ask(small, text(400))
        check(loop, [ask(small, text(30), draft_length=2)])


def test_its_memory_is_as_planned(files: tuple[Path, Path]) -> None:
    """Weights, caches, states and buffers, against what llama.cpp reports."""
    check_memory(files[0], EngineConfig(n_ctx=2048, n_seq_max=SEQUENCES))


def test_a_step_that_llama_cpp_refuses_is_told_in_its_words(files: tuple[Path, Path]) -> None:
    model = LlamaModel(files[0], EngineConfig())
    context = model.open_context(EngineConfig(n_ctx=256, n_seq_max=1), 1)
    batch = context.new_batch()
    batch.add([1], 7, 0, 1)
    context.decode(batch)
    batch.clear()
    batch.add([1], 5, 0, 1)
    with pytest.raises(DecodeError, match="inconsistent sequence positions"):
        context.decode(batch)
    context.close()
    model.close()


@pytest.mark.parametrize("architecture", ROLL_BACK, indirect=True)
def test_cells_are_copied_from_a_slot_whose_roll_back_is_pending(files: tuple[Path, Path]) -> None:
    """llama.cpp's own part of it: with a state restored behind the copy, both slots go on as if read anew."""
    model, config = LlamaModel(files[0], EngineConfig()), EngineConfig(n_ctx=256, n_seq_max=2)
    tokens, rows = list(text(140).encode()), []
    for is_copied in (False, True):
        context = model.open_context(config, 1)
        batch = context.new_batch()

        def decode(slot: int, start: int, end: int, context: Context = context, batch: Batch = batch) -> Logits:
            batch.clear()
            batch.add(tokens[start:end], start, slot, 1)
            return context.decode(batch)[-1].copy()

        decode(0, 0, 100)
        state = context.save(0)
        decode(0, 100, 106)
        assert context.remove(0, 102)
        if is_copied:
            context.copy(0, 1, 0, 100)
            context.restore(1, state, 100)
        else:
            decode(1, 0, 100)
        rows.append([decode(0, 102, 103), decode(1, 100, 130), decode(0, 103, 120)])
        context.close()
    model.close()
    assert np.allclose(rows[0], rows[1], atol=1e-3)  # of logits of some 5


@pytest.mark.parametrize("draft", ["llama", "gpt2", "lfm2"])
@pytest.mark.parametrize("drafter", ["model", "auto"])
def test_a_draft_of_a_shorter_context_drafts_within_it(draft: str, drafter: str, tmp_path: Path) -> None:
    """Beyond it the text goes on without; with learned positions llama.cpp would end the process there."""
    target = write_model(tmp_path / "target.gguf", "llama")
    short = write_model(tmp_path / "draft.gguf", draft, context=128)
    with open_engine(target, short) as engine, BareLoop(target, EngineConfig(n_ctx=CELLS, n_seq_max=1), 2) as loop:
        assert any("trained for 128 tokens" in note for note in engine.notes)
        within, across, beyond = (
            ask(engine, text(length), drafter=drafter, draft_length=4, max_tokens=40) for length in (40, 100, 200)
        )
        automatic = ask(engine, text(100), drafter=drafter, draft_length="auto", max_tokens=60)
        check(loop, [within, across, beyond, automatic])
    drafted = [num_drafted_by(each, "model") for each in (within, across, beyond)]
    assert drafted[0] > drafted[1] > drafted[2] == 0


def test_a_text_ends_where_the_learned_positions_do(tmp_path: Path) -> None:
    with open_engine(write_model(tmp_path / "target.gguf", "gpt2", context=128)) as engine:
        generation = ask(engine, text(60), max_tokens=500, draft_length=3, drafter="ngram")
        assert generation.finish_reason == "length"
        assert len(generation.prompt_ids) + len(generation.tokens) in (128, 129)
        with pytest.raises(PromptTooLong):
            ask(engine, text(200))


def num_drafted_by(generation: Generation, drafter: str) -> int:
    rounds = (event for event in generation.events if isinstance(event, RoundEvent))
    return sum(event.k for event in rounds if event.drafter == drafter)


def test_a_draft_with_a_window_drafts_after_a_shared_beginning_as_if_it_were_fresh(tmp_path: Path) -> None:
    """The target shares any beginning; llama.cpp gave the draft's cells of this one to a text that came between."""
    files = write_model(tmp_path / "target.gguf", "llama"), write_model(tmp_path / "draft.gguf", "gemma3", noise=0.1)
    first, settings = text(100, seed=1), {"n_ctx": 512, "prefix_cache_tokens": 512, "fast_cells": 0}
    drafts = []
    for before in ((text(80), first, text(335, seed=3)), ()):
        with open_engine(*files, **settings) as engine:
            for each in before:
                ask(engine, each, drafter="model", draft_length=6, max_tokens=3)
            last = ask(engine, first[:40] + text(5, seed=9), drafter="model", draft_length=6, max_tokens=8)
            assert last.stats.cached_prompt_tokens == (40 if before else 0)
            refused = [event for event in last.events if isinstance(event, RejectedEvent)]
            drafts.append([(event.round, event.position, event.token_id) for event in refused])
    assert drafts[0]
    assert drafts[0] == drafts[1]


def test_a_draft_that_shares_less_than_its_target_drops_others_where_its_cache_is_full(tmp_path: Path) -> None:
    """Else what it has of them would be in the way of every draft, though the target has room."""
    files = write_model(tmp_path / "target.gguf", "llama"), write_model(tmp_path / "draft.gguf", "gemma3", noise=0.1)
    first, settings = text(100, seed=1), {"n_ctx": 256, "prefix_cache_tokens": 256, "fast_cells": 0}
    with open_engine(*files, **settings) as engine:
        for each in (text(60), first, text(125, seed=3)):
            ask(engine, each, drafter="model", draft_length=6, max_tokens=3)
        last = ask(engine, first[:40] + text(5, seed=9), drafter="model", draft_length=2, max_tokens=6)
        assert last.stats.cached_prompt_tokens == 40
        assert engine.status().cells_cached > 200  # nothing had to go
        assert last.stats.drafted_tokens > 0


@pytest.mark.parametrize(("other", "kind"), [("t5", "an encoder-decoder model"), ("bert", "an embedding model")])
def test_what_does_not_generate_is_refused(other: str, kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "other.gguf", other)
    with pytest.raises(InvalidModel, match=f"is {kind}"):
        find_files(path, None)


def test_an_encoder_is_refused_after_loading_too(tmp_path: Path) -> None:
    """Whatever its header says."""
    with pytest.raises(ModelLoadError, match="is an encoder-decoder model"):
        LlamaModel(write_model(tmp_path / "other.gguf", "t5"), EngineConfig())
