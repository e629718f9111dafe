"""The recipe on a toy target: a random Llama whose text a draft can learn within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch gguf")
gguf = pytest.importorskip("gguf", reason="gguf is not installed: pip install torch gguf")

from exsa_lab.distill import distill  # noqa: E402
from exsa_lab.distill.drafts import new_draft, reduce_embedding, widened  # noqa: E402
from exsa_lab.distill.export import write_gguf  # noqa: E402
from exsa_lab.distill.iq4_nl import round_output  # noqa: E402
from exsa_lab.distill.llama import Shape, logits, read_llama  # noqa: E402
from exsa_lab.distill.measure import Written  # noqa: E402
from exsa_lab.distill.prompts import OPENING, TEMPLATE, TrainingPrompt  # noqa: E402
from exsa_lab.distill.recipe import parse_size  # noqa: E402
from exsa_lab.distill.rounding import as_stored  # noqa: E402
from exsa_lab.distill.text import ChatFrame, Texts, _Rows  # noqa: E402
from exsa_lab.distill.toy import TOKENS, write_toy_target  # noqa: E402
from exsa_lab.distill.train import Budget, Trainer, distillation_gradient  # noqa: E402
from exsa_lab.errors import ConfigError  # noqa: E402
from exsa_lab.runtime.protocol import TokenRules  # noqa: E402


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Whatever used torch's generator before."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.gguf"
    write_toy_target(path)
    return path


def test_the_same_logits_with_and_without_cache_and_in_llama_cpp(target: Path) -> None:
    from exsa_lab.config import EngineConfig
    from exsa_lab.distill.llama import empty_cache
    from exsa_lab.distill.measure import _probabilities

    shape, weights = read_llama(target, "cpu", torch.float32)
    tokens = torch.arange(3, 27)[None]
    whole = logits(shape, weights, tokens)
    cache = empty_cache(shape, 1, 24, weights["token_embd.weight"])
    parts = torch.cat([logits(shape, weights, part, cache) for part in tokens.split(5, dim=1)], 1)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    text = Written(tokens[0, :4].tolist(), tokens[0, 4:].tolist())
    theirs = _probabilities(target, [text], 1.0, EngineConfig(n_ctx=512, n_seq_max=1), 1)[0]
    ours = whole[0, 3:-1].softmax(-1).gather(-1, tokens[0, 4:, None])[:, 0]
    np.testing.assert_allclose(theirs, ours.numpy(), rtol=0.1, atol=1e-3)


def test_gradient_is_the_losss() -> None:
    wanted, found = torch.randn(5, 11), torch.randn(5, 11, requires_grad=True)
    gradient, loss = distillation_gradient(wanted, found.detach())
    p = wanted.softmax(-1)
    mixture = 0.5 * p + 0.5 * torch.nn.functional.one_hot(p.argmax(-1), 11)
    expected = -(mixture * found.log_softmax(-1)).sum(-1).sum()
    expected.backward()
    torch.testing.assert_close(gradient, found.grad)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_embedding_keeps_the_strongest_directions() -> None:
    strong = torch.randn(200, 4) @ torch.randn(4, 32) * 10
    reduced = reduce_embedding(strong + 0.01 * torch.randn(200, 32), 4)
    centred = strong - strong.mean(0)
    explained = reduced @ torch.linalg.lstsq(reduced, centred).solution
    assert float((explained - centred).norm() / centred.norm()) < 0.01


@pytest.mark.parametrize("to", ["q4_0", "q5_0"])
def test_rounding_is_the_files(to: str) -> None:
    from gguf.quants import dequantize, quantize

    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)) * 0.04
    weight[3] = 0
    kind = gguf.GGMLQuantizationType[to.upper()]
    theirs = dequantize(quantize(weight.numpy(), kind), kind)
    np.testing.assert_array_equal(as_stored(weight, to).numpy(), theirs)
    torch.testing.assert_close(as_stored(weight[0], to), weight[0], rtol=0, atol=0)


def test_the_output_layer_is_rounded_for_what_it_computes() -> None:
    from gguf.quants import dequantize

    chance = np.random.default_rng(0)
    weights = chance.normal(size=(300, 96)).astype(np.float32) * 0.05
    weights[7] = 0
    last = chance.normal(size=(2000, 8)) @ chance.normal(size=(8, 96)) + 0.3 * chance.normal(size=(2000, 96))
    packed, values = round_output(weights, last.T @ last / len(last))
    kind = gguf.GGMLQuantizationType.IQ4_NL
    np.testing.assert_array_equal(dequantize(packed, kind).reshape(values.shape), values)
    nearest = round_output(weights, np.eye(96))[1]
    assert np.abs(nearest - weights).max() < 0.02

    def error(rounded: np.ndarray) -> float:
        return float((((rounded - weights) @ last.T) ** 2).mean())

    assert error(values) < 0.5 * error(nearest)


def test_settling_keeps_the_rounded_output_layer_and_lowers_the_loss(target: Path, tmp_path: Path) -> None:
    trainer = _trainer(target, "iq4_nl")
    trainer.run(Budget(0, steps=40), None, lambda *_: None)
    before = trainer.weights["token_embd.weight"].clone()
    trainer.settle(Budget(0, steps=61), lambda *_: None)
    after = trainer.weights["token_embd.weight"]
    assert 0 < float((after - before).abs().max()) < 0.2 * float(before.abs().max())
    assert trainer.progress.step == 101
    assert trainer.progress.losses[-1] < trainer.progress.losses[4]
    arrays = {name: weight.numpy() for name, weight in trainer.weights.items()}
    write_gguf(tmp_path / "draft.gguf", "toy draft", trainer.shape, arrays, target, "iq4_nl", trainer.packed)
    _, stored = read_llama(tmp_path / "draft.gguf", "cpu", torch.float32)
    torch.testing.assert_close(stored["token_embd.weight"], after, rtol=0, atol=0)


def test_a_wider_feed_forward_computes_the_same(target: Path) -> None:
    shape, weights = read_llama(target, "cpu", torch.float32)
    wide, grown = widened(shape, weights, 160, seed=0)
    assert grown["blk.0.ffn_up.weight"].shape == (160, shape.width)
    tokens = torch.arange(3, 27)[None]
    torch.testing.assert_close(logits(wide, grown, tokens), logits(shape, weights, tokens))
    with pytest.raises(ConfigError, match="feed-forward"):
        widened(shape, weights, 64, seed=0)


class _Letters:
    """A tokenizer of single letters with a template that shows every turn: u...e, a...e."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [ord(letter) for letter in text]

    name = "letters"
    chat_template = "{% for message in messages %}{{ message.role[0] ~ message.content }}e{% endfor %}a"
    token_rules = TokenRules()

    def is_end(self, token: int) -> bool:
        return token == ord("e")


def test_turns_follow_each_other_and_only_answers_are_learned() -> None:
    frame = ChatFrame(_Letters())
    is_end = np.array([_Letters().is_end(token) for token in range(128)])
    starts = [frame.start(TrainingPrompt(TEMPLATE, "hi")), frame.start(TrainingPrompt(OPENING, "h"))]
    rows = _Rows(starts, frame, is_end, 12)
    for place, letters in enumerate(("..", "..", "..", ".e", "x.", "ey", ".z", "..", "we", "e.", ".."), start=1):
        rows.extend(place, np.array([ord(letter) for letter in letters]))
    text = ["".join(map(chr, row)) for row in rows.tokens]
    assert text == ["uhieaxeu.wea", "uh..eayz.eu."]
    assert rows.answered.nonzero()[1].tolist() == [5, 6, 6, 7, 8, 9]
    assert not rows.finished.any()


def _trainer(target: Path, to: str = "q8_0") -> Trainer:
    shape, weights = read_llama(target, "cpu", torch.float32)
    own = Shape(32, 1, 1, 1, 64, shape.vocabulary)
    rows = np.random.default_rng(0).integers(0, 256, (32, 24)).astype(np.int32)
    texts = Texts(rows, np.ones(rows.shape, bool))
    draft = own, new_draft(own, weights["token_embd.weight"], 0)
    return Trainer((shape, weights), draft, texts, seed=0, to=to, rows_per_step=8)


def test_resumed_training_equals_uninterrupted_training(target: Path, tmp_path: Path) -> None:
    straight, first, second = _trainer(target), _trainer(target), _trainer(target)
    straight.run(Budget(0, steps=12), None, lambda *_: None)

    def stop(progress: object, used: float) -> None:
        if used >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(Budget(0, steps=12), tmp_path / "ck", stop)
    second.resume(tmp_path / "ck")
    assert second.progress.step == 7
    second.run(Budget(0, steps=12), None, lambda *_: None)
    for name, weight in straight.weights.items():
        torch.testing.assert_close(second.weights[name], weight)


@pytest.mark.parametrize("to", ["q8_0", "q4_0"])
def test_training_lowers_the_loss(target: Path, to: str) -> None:
    trainer = _trainer(target, to)
    trainer.run(Budget(0, steps=101), None, lambda *_: None)
    assert trainer.progress.losses[-1] < trainer.progress.losses[0] - 0.01


def test_a_distilled_draft_agrees_with_its_target(target: Path, tmp_path: Path) -> None:
    out = tmp_path / "draft.gguf"
    report = distill(
        target, out, "32x1x64", 4.0, seed=1, device="cpu", text_length=64, rows_at_once=8, held_out=1, progress=False
    )
    assert report.path.is_file()
    assert report.steps > 0
    assert len(report.speedups) == len(report.tokens_per_round) == len(report.by_position) == 6
    assert str(out) in str(report)
    shape, _ = read_llama(out, "cpu", torch.float32)
    assert (shape.width, shape.layers, shape.vocabulary) == (32, 1, len(TOKENS))
    before = len(Texts.load(out.with_suffix(".texts.npz")).tokens)
    again = distill(
        target, out, "32x1x64", 4.0, seed=1, device="cpu", text_length=64, rows_at_once=8, held_out=1, progress=False
    )
    assert (again.rows, again.steps) == (before, report.steps)  # The budget was used up: nothing is trained twice.


@pytest.mark.parametrize("size", ["big", "32x1", "33x1x64", "0x1x64", "32x1x-64"])
def test_bad_sizes_are_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="size"):
        parse_size(size)
