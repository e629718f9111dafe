"""The recipe on a toy target: a random Llama whose text a draft can learn within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'exsa-lab[distill]'")
gguf = pytest.importorskip("gguf", reason="gguf is not installed: pip install 'exsa-lab[distill]'")

from exsa_lab.distill import distill  # noqa: E402
from exsa_lab.distill.llama import Shape, logits, new_draft, read_llama, reduce_embedding  # noqa: E402
from exsa_lab.distill.measure import Written  # noqa: E402
from exsa_lab.distill.recipe import parse_size  # noqa: E402
from exsa_lab.distill.toy import TOKENS, write_toy_target  # noqa: E402
from exsa_lab.distill.train import Budget, Trainer, distillation_gradient  # noqa: E402
from exsa_lab.errors import ConfigError  # noqa: E402


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
    mixture = 0.7 * p + 0.3 * torch.nn.functional.one_hot(p.argmax(-1), 11)
    expected = -(mixture * found.log_softmax(-1)).sum(-1).mean()
    expected.backward()
    torch.testing.assert_close(gradient, found.grad)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)


def test_embedding_keeps_the_strongest_directions() -> None:
    strong = torch.randn(200, 4) @ torch.randn(4, 32) * 10
    reduced = reduce_embedding(strong + 0.01 * torch.randn(200, 32), 4)
    centred = strong - strong.mean(0)
    explained = reduced @ torch.linalg.lstsq(reduced, centred).solution
    assert float((explained - centred).norm() / centred.norm()) < 0.01


def _trainer(target: Path) -> Trainer:
    shape, weights = read_llama(target, "cpu", torch.float32)
    own = Shape(32, 1, 1, 1, 64, shape.vocabulary)
    rows = np.random.default_rng(0).integers(0, 256, (32, 24)).astype(np.int32)
    return Trainer(
        (shape, weights), (own, new_draft(own, weights["token_embd.weight"], 0)), rows, seed=0, rows_per_step=8
    )


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


def test_training_lowers_the_loss(target: Path) -> None:
    trainer = _trainer(target)
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
    before = len(np.load(out.with_suffix(".texts.npy")))
    again = distill(
        target, out, "32x1x64", 4.0, seed=1, device="cpu", text_length=64, rows_at_once=8, held_out=1, progress=False
    )
    assert (again.rows, again.steps) == (before, report.steps)  # The budget was used up: nothing is trained twice.


@pytest.mark.parametrize("size", ["big", "32x1", "33x1x64", "0x1x64", "32x1x-64"])
def test_bad_sizes_are_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="size"):
        parse_size(size)
