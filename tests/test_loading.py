"""Loading follows the plan, steps down when it does not fit, and never leaves half an engine behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from exsa_lab import hardware, loading
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import (
    ConfigError,
    ExsaError,
    InvalidModel,
    ModelLoadError,
    ModelNotFound,
    OutOfMemory,
    VocabularyMismatch,
)
from exsa_lab.hardware import GPU, Hardware, detect
from exsa_lab.models import conversion
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.resolve import resolve
from tests.models.gguf_files import write

DRAFT = "smollm2-135m-draft"


@pytest.fixture(autouse=True)
def _unload() -> Iterator[None]:
    yield
    loading.unload()


class NarrowEngine:
    """Stands in for the engine: opens only up to ``most`` cells and ``most_layers`` layers."""

    most, most_layers = 10**9, 10**9
    tried: list[EngineConfig]

    def __init__(self, _open_models: Any, config: EngineConfig, *, progress: Any = None) -> None:
        self.tried.append(config)
        layers = 10**6 if config.n_gpu_layers < 0 else config.n_gpu_layers
        if config.n_ctx > self.most or layers > self.most_layers:
            raise OutOfMemory("llama.cpp could not create a context.")
        self.config, self.state = config, EngineState.OPEN

    def on_each_end(self, callback: Any) -> None:
        """It generates nothing."""

    def close(self) -> None:
        self.state = EngineState.CLOSED


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> type[NarrowEngine]:
    monkeypatch.setattr(NarrowEngine, "tried", [], raising=False)
    monkeypatch.setattr(loading, "Engine", NarrowEngine)
    return NarrowEngine


def test_it_steps_down_until_it_fits(narrow: type[NarrowEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "most", 2048)
    engine = loading.load(DRAFT, draft=None)
    assert engine.config.n_ctx == 2048
    assert [config.n_ctx for config in narrow.tried] == [8192, 4096, 2048]
    made = loading.get_plan()
    assert made is not None
    assert made.config == engine.config
    assert "did not fit" in made.reason("n_ctx")
    assert loading.load(DRAFT, draft=None) is engine


@pytest.mark.real
def test_the_machine_is_looked_at_once_and_again_where_an_engine_gave_its_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    def look(*args: Any, **options: Any) -> Hardware:
        looks.append(args)
        return detect(*args, **options)

    for module in (loading, conversion, hardware):
        monkeypatch.setattr(module, "detect", look)
    first = loading.load(DRAFT, draft=None, n_ctx=256)
    assert len(looks) == 1
    assert len(first.generate("a", chat=False, max_tokens=4).positions()) > 0
    assert len(looks) == 1
    loading.load(DRAFT, draft=None, n_ctx=512)
    assert len(looks) == 3


def test_layers_step_down_on_a_gpu(narrow: type[NarrowEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GPU("gpu", 8 << 30, 8 << 30, "CUDA")
    monkeypatch.setattr(loading, "machine", lambda: replace(detect(), gpus=(gpu,), can_offload=True))
    monkeypatch.setattr(narrow, "most_layers", 3)
    assert loading.load(DRAFT, draft=None).config.n_gpu_layers == 3
    tried = [config.n_gpu_layers for config in narrow.tried]
    assert tried[0] == -1
    assert tried[1:] == list(range(read_facts(resolve(DRAFT).path).layers, 2, -1))


def test_what_the_user_asked_for_is_not_lowered(narrow: type[NarrowEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "most", 2048)
    with pytest.raises(OutOfMemory):
        loading.load(DRAFT, draft=None, n_ctx=4096)
    assert [config.n_ctx for config in narrow.tried] == [4096]
    assert loading.get_plan() is None
    with pytest.raises(ExsaError, match="no engine is loaded"):
        loading.get_engine()


def test_wrong_arguments_keep_the_old_engine(narrow: type[NarrowEngine], tmp_path: Path) -> None:
    engine = loading.load(DRAFT, draft=None)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(resolve(DRAFT).path.read_bytes()[:100_000])
    stranger = write(tmp_path / "stranger.gguf")
    for arguments, config, error in [
        ((str(broken), None), {}, InvalidModel),
        ((str(tmp_path / "absent.gguf"), None), {}, ModelNotFound),
        ((DRAFT, str(stranger)), {}, VocabularyMismatch),
        ((DRAFT, None), {"n_ctx": 1 << 24, "n_seq_max": 128}, OutOfMemory),
        ((DRAFT, None), {"n_ctx": -1}, ConfigError),
        ((DRAFT, None), {"n_contexts": 1}, ConfigError),
        ((DRAFT, None), {"n_gpu_layers": 7}, ConfigError),
        ((DRAFT, None), {"weights": "q9"}, ConfigError),
        ((DRAFT, None), {"cost_factor": 0}, ConfigError),
    ]:
        with pytest.raises(error):
            loading.load(*arguments, **config)  # type: ignore[arg-type]
        assert loading.get_engine() is engine


def test_a_replaced_file_is_loaded_anew(narrow: type[NarrowEngine], tmp_path: Path) -> None:
    path, other = tmp_path / "model.gguf", tmp_path / "other.gguf"
    raw = resolve(DRAFT).path.read_bytes()
    path.write_bytes(raw)
    engine = loading.load(path, draft=None, isolate=False)
    assert loading.load(path, draft=None, isolate=False) is engine
    other.write_bytes(raw)  # the same bytes in another file: it may change while the first is mapped
    other.replace(path)
    second = loading.load(path, draft=None, isolate=False)
    assert second is not engine
    assert engine.state is EngineState.CLOSED
    path.unlink()
    assert loading.load(path, draft=None, isolate=False) is second  # gone is not replaced


def test_what_took_the_place_of_a_checked_file_is_not_opened(tmp_path: Path) -> None:
    """Where its process died and is started again, say."""
    path, other = tmp_path / "model.gguf", tmp_path / "other.gguf"
    for each in (path, other):
        each.write_bytes(resolve(DRAFT).path.read_bytes())
    opener = loading.prepare(str(path), None, EngineConfig(n_ctx=256))
    other.replace(path)
    with pytest.raises(ModelLoadError, match="another file than it was"):
        opener(lambda _: True)


def test_a_relative_path_means_the_file_it_named(
    narrow: type[NarrowEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_bytes(resolve(DRAFT).path.read_bytes())
    monkeypatch.chdir(tmp_path / "a")
    engine = loading.load("model.gguf", draft=None, isolate=False)
    assert loading.load(tmp_path / "a" / "model.gguf", draft=None, isolate=False) is engine
    monkeypatch.chdir(tmp_path / "b")
    assert loading.load("model.gguf", draft=None, isolate=False) is not engine


@pytest.mark.parametrize(
    ("target", "draft", "wish", "is_apart"),
    [
        (DRAFT, None, None, False),
        (DRAFT, DRAFT, None, False),
        ("installed", None, None, False),
        ("copy", None, None, True),
        (DRAFT, "copy", None, True),
        ("copy", None, False, False),
        (DRAFT, None, True, True),
    ],
)
def test_files_that_are_not_of_the_catalog_get_a_process_of_their_own(
    narrow: type[NarrowEngine],
    target: str,
    draft: str | None,
    wish: bool | None,
    is_apart: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = {"copy": tmp_path / "copy.gguf", "installed": resolve(DRAFT).path}
    paths["copy"].write_bytes(paths["installed"].read_bytes())
    opened: list[loading.FileOpener] = []
    monkeypatch.setattr(loading, "IsolatedWorker", lambda opener, config, progress: opened.append(opener))
    monkeypatch.setattr(narrow, "on", classmethod(lambda cls, worker, config: cls(None, config)), raising=False)
    given = None if draft is None else paths.get(draft, draft)
    loading.load(paths.get(target, target), given, isolate=wish)
    assert bool(opened) is is_apart
    assert [loading.APART in opener.notes for opener in opened] == [wish is None] * len(opened)


@pytest.mark.real
def test_a_file_from_elsewhere_says_once_where_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "copy.gguf"
    path.write_bytes(resolve(DRAFT).path.read_bytes())
    engine = loading.load(path, n_ctx=256)
    assert engine.notes.count(loading.APART) == 1
    assert engine.generate("a", chat=False, max_tokens=4).state == "finished"
    assert loading.load(path, n_ctx=256) is engine
    assert loading.load(path, n_ctx=256, isolate=False).notes.count(loading.APART) == 0


@pytest.mark.parametrize("target", [b"abc", 3, ["a"]])
def test_what_names_no_model_is_one_clear_error(target: Any) -> None:
    with pytest.raises(ConfigError, match="the model is"):
        loading.load(target)


def test_weights_are_converted_once(
    narrow: type[NarrowEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # another test may have converted the same file
    seen: list[float] = []
    engine = loading.load(DRAFT, draft=None, weights="q4_1", progress=seen.append)
    assert seen[-1] == 1.0
    assert loading.load(DRAFT, draft=None, weights="q4_1") is engine
    files = loading.find_files(DRAFT, None, weights="q4_1")
    assert files.target.quantisation == "Q4_1"
    assert files.target.path != read_facts(resolve(DRAFT).path).path


def test_the_cost_of_a_target_is_scaled_and_its_draft_is_that_of_the_original(
    narrow: type[NarrowEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = loading.load(DRAFT, draft=DRAFT, cost_factor=3)
    assert loading.load(DRAFT, draft=DRAFT, cost_factor=3) is engine
    files = loading.find_files(DRAFT, DRAFT, weights="q4_1", cost_factor=2)
    assert (files.target.cost_factor, files.target.quantisation) == (2, "Q4_1")
    assert files.draft is not None
    assert files.draft.cost_factor == 1
    assert loading.load(DRAFT, draft=DRAFT, cost_factor=1) is loading.load(DRAFT, draft=DRAFT)


@pytest.mark.real
def test_extreme_settings_give_a_working_engine() -> None:
    for config in (
        {"n_seq_max": 1},
        {"n_ctx": 32},
        {"n_ubatch": 8},
        {"n_batch": 16},
        {"n_seq_max": 128},
        {"kv_type": "q8_0"},
        {"kv_type": "bf16", "flash_attention": False},
    ):
        engine = loading.load(DRAFT, draft=DRAFT, recalibrate=True, **config)
        # Long drafts of every sequence at once ask for the most rows of logits.
        count = min(20, 2 * engine.config.n_seq_max)
        generations = [engine.submit("a", chat=False, max_tokens=6, draft_length=8) for _ in range(count)]
        assert all(generation.wait(60) and generation.state == "finished" for generation in generations), config


@pytest.mark.real
def test_an_engine_that_does_not_fit_returns_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loading.load(DRAFT, draft=None)  # as large as the attempts: what the allocator keeps of that is no leak
    loading.unload()
    process = psutil.Process()
    before = process.memory_info().rss
    real = Engine.__init__
    attempts = []

    def refuse_twice(self: Engine, open_models: Any, config: EngineConfig, *, progress: Any = None) -> None:
        attempts.append(config.n_ctx)
        real(self, open_models, config, progress=progress)
        if len(attempts) <= 2:
            self.close()
            raise OutOfMemory("no room")

    monkeypatch.setattr(Engine, "__init__", refuse_twice)
    engine = loading.load(DRAFT, draft=None)
    assert attempts == [8192, 4096, 2048]
    assert engine.generate("a", chat=False, max_tokens=2).state == "finished"
    monkeypatch.undo()
    loading.unload()
    assert process.memory_info().rss - before < 64 << 20


@pytest.mark.real
@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"n_ctx": 1 << 24}, "tokens takes about"),
        ({"n_ctx": 1 << 24, "n_seq_max": 64}, "tokens takes about"),
        ({"n_seq_max": 100_000}, "n_seq_max is 100000"),
        ({"n_gpu_layers": 999}, "cannot use a GPU"),
    ],
)
def test_more_than_there_is_takes_one_line_and_no_memory(
    wish: dict[str, int], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default pair; whether there is an engine before or not."""
    monkeypatch.setattr(loading, "machine", lambda: replace(detect(), gpus=(), can_offload=False))
    engine = loading.load(n_ctx=512)
    before = psutil.Process().memory_info().rss
    with pytest.raises(ExsaError, match=line) as caught:
        loading.load(**wish)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert loading.get_engine() is engine
    assert engine.generate("a", chat=False, max_tokens=2).state == "finished"
    assert psutil.Process().memory_info().rss - before < 64 << 20


@pytest.mark.real
def test_llama_cpp_itself_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default pair, where the planner was told of more memory than there is: its estimate cannot help."""
    loading.load(n_ctx=512)
    loading.unload()
    before = psutil.Process().memory_info().rss
    monkeypatch.setattr(
        loading, "machine", lambda: replace(detect(), gpus=(), available_memory=1 << 50, total_memory=1 << 50)
    )
    with pytest.raises(OutOfMemory) as caught:
        loading.load(n_ctx=1 << 24)  # 360 GiB of cache.
    assert "\n" not in str(caught.value)
    assert loading.get_plan() is None
    assert psutil.Process().memory_info().rss - before < 64 << 20
    monkeypatch.undo()
    assert loading.load(n_ctx=512).generate("a", chat=False, max_tokens=2).state == "finished"
