"""The plan over many machines and models that are not here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, OutOfMemory
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.models.gguf_facts import GGUFFacts, VocabularyFacts
from exsa_lab.models.gguf_reader import ArrayRegion
from exsa_lab.models.memory import GIB, GPU_MARGIN, compute_bytes, kv_bytes, num_slots, output_bytes, state_bytes
from exsa_lab.models.recurrent import RecurrentFacts
from exsa_lab.planner import Plan, estimate, plan, step_down

MIB = 1 << 20


def model(
    parameters: float,
    layers: int,
    embedding: int,
    feed_forward: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    *,
    bits: float = 4.8,
    context: int = 32_768,
    tensor_type: str = "Q4_K",
) -> GGUFFacts:
    """Facts of a model that need no file; ``parameters`` in billions."""
    table = round(vocabulary * embedding * bits / 8)
    body = round(parameters * 1e9 * bits / 8) - 2 * table
    path = Path(f"/models/{parameters}b.gguf")
    region = ArrayRegion(8, vocabulary, 0, 0)
    return GGUFFacts(
        path=path,
        file_bytes=body + 2 * table,
        version=3,
        architecture="llama",
        name=f"{parameters}B",
        layers=layers,
        embedding=embedding,
        heads=heads,
        kv_heads=(kv_heads,) * layers,
        key_length=embedding // heads,
        value_length=embedding // heads,
        context_limit=context,
        feed_forward=feed_forward,
        experts=0,
        vocabulary=VocabularyFacts(path, "gpt2", "", vocabulary, None, None, None, False, False, region),
        chat_template=None,
        tensor_types=MappingProxyType({tensor_type: body + 2 * table}),
        quantisation=tensor_type,
        layer_bytes=(body // layers,) * layers,
        other_bytes=2 * table,
        output_bytes=table,
        has_own_output=True,
        num_parameters=round(parameters * 1e9),
        split_count=1,
    )


TINY = model(0.135, 30, 576, 1536, 9, 3, 49_152, context=8192, tensor_type="Q4_1")
DRAFT = model(0.016, 4, 256, 768, 4, 2, 49_152, bits=8.5, context=8192, tensor_type="Q8_0")
B1 = model(1.2, 16, 2048, 8192, 32, 8, 128_256)
B7 = model(7.6, 28, 3584, 18_944, 28, 4, 152_064)
B14 = model(14.8, 48, 5120, 13_824, 40, 8, 152_064)
B32 = model(32.8, 64, 5120, 27_648, 40, 8, 152_064)
B70 = model(70.6, 80, 8192, 28_672, 64, 8, 128_256)
MODELS = {"0.1B": TINY, "1B": B1, "7B": B7, "14B": B14, "32B": B32, "70B": B70}


def machine(
    gpu: float = 0, *, ram: float = 32, cores: int = 8, quota: float | None = None, offload: bool = True
) -> Hardware:
    """A machine with one GPU of ``gpu`` GiB, all free, or none; ``ram`` GiB available."""
    gpus = (GPU("gpu", round(gpu * GIB), round(gpu * GIB), "CUDA"),) if gpu else ()
    return Hardware("cpu", cores, cores, cores, quota, round(ram * GIB), round(ram * GIB), gpus, offload and bool(gpu))


def layers_on_gpu(made: Plan, facts: GGUFFacts) -> int:
    return facts.layers if made.config.n_gpu_layers < 0 else made.config.n_gpu_layers


# The same for every machine


@pytest.mark.parametrize("facts", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("gpu", [0, 1, 2, 4, 8, 16, 24, 80])
@pytest.mark.parametrize("ram", [1, 2, 8, 64])
@pytest.mark.parametrize("cores", [2, 128])
def test_every_plan_fits_and_gives_its_reasons(facts: GGUFFacts, gpu: float, ram: float, cores: int) -> None:
    hardware = machine(gpu, ram=ram, cores=cores)
    try:
        made = plan(hardware, facts, DRAFT if facts is TINY else None)
    except OutOfMemory:
        assert ram <= facts.file_bytes / GIB + 1  # Nothing but a machine without room is refused.
        return
    config, memory = made.config, made.memory
    assert memory.device <= max(0, gpu * GIB - GPU_MARGIN) or config.n_gpu_layers == 0
    assert memory.host_cache <= ram * GIB
    assert 512 <= config.n_ctx <= facts.context_limit
    assert config.n_threads == (2 if config.n_gpu_layers < 0 else cores)
    assert min(config.n_batch, config.step_tokens) >= config.n_seq_max
    assert config.n_ctx >= 64 * config.n_seq_max or config.n_seq_max == 1
    assert all(choice.reason and choice.value == getattr(config, choice.name) for choice in made.choices)
    if config.n_gpu_layers == 0 and gpu:
        assert gpu <= 2  # More than that always takes a layer of these models.


def test_a_plan_is_repeatable() -> None:
    assert plan(machine(8), B7) == plan(machine(8), B7)


# Layers


@pytest.mark.parametrize(
    ("gpu", "facts", "expected"),
    [
        (4, TINY, "all"),
        (4, B1, "all"),
        (4, B7, "some"),
        (8, B7, "all"),
        (8, B14, "some"),
        (16, B14, "all"),
        (16, B32, "some"),
        (24, B32, "all"),
        (24, B70, "some"),
        (80, B70, "all"),
        (0, B7, "none"),
    ],
)
def test_layers_on_the_gpu(gpu: float, facts: GGUFFacts, expected: str) -> None:
    made = plan(machine(gpu, ram=64), facts)
    found = "all" if made.config.n_gpu_layers < 0 else "some" if made.config.n_gpu_layers else "none"
    assert found == expected
    if expected == "some":
        one_more = facts.layer_bytes[0] + kv_bytes(facts, made.config.n_ctx, made.config.kv_type, 1)
        assert made.memory.device + one_more > gpu * GIB - GPU_MARGIN
        assert made.config.n_ctx == 8192


def test_more_memory_never_means_fewer_layers() -> None:
    counts = [layers_on_gpu(plan(machine(gpu, ram=64), B32), B32) for gpu in range(2, 40)]
    assert counts == sorted(counts)
    assert counts[-1] == B32.layers


def test_the_draft_goes_first() -> None:
    made = plan(machine(4, ram=64), B7, DRAFT)
    assert made.config.draft_gpu_layers == -1
    assert 0 < made.config.n_gpu_layers < B7.layers


def test_two_gpus_count_together() -> None:
    one = machine(24, ram=64)
    two = replace(one, gpus=one.gpus * 2)
    assert plan(one, B70).config.n_gpu_layers < plan(two, B70).config.n_gpu_layers or (
        plan(two, B70).config.n_gpu_layers == -1
    )


def test_a_gpu_of_unknown_memory_is_tried() -> None:
    hardware = replace(machine(8), gpus=(GPU("Some GPU", None, None, "Vulkan"),))
    made = plan(hardware, B7)
    assert made.config.n_gpu_layers == -1
    assert "unknown" in made.reason("n_gpu_layers")


@pytest.mark.parametrize(
    ("hardware", "words"), [(machine(0), "no GPU"), (machine(24, offload=False), "this build of llama.cpp cannot")]
)
def test_no_offload_says_why(hardware: Hardware, words: str) -> None:
    made = plan(hardware, B1)
    assert made.config.n_gpu_layers == 0
    assert words in made.reason("n_gpu_layers")


# Context, cache, batches, threads


def test_the_models_limit_bounds_the_context() -> None:
    made = plan(machine(), replace(B1, context_limit=2048))
    assert made.config.n_ctx == 2048
    assert "2,048" in made.reason("n_ctx")


def test_short_memory_lowers_the_context_then_the_cache_type() -> None:
    facts = model(7.0, 32, 4096, 11_008, 32, 32, 32_000)  # No grouped-query attention: half a MiB a token.
    configs = [plan(machine(ram=ram / 10), facts).config for ram in range(120, 46, -1)]
    seen = list(dict.fromkeys((config.n_ctx, config.kv_type) for config in configs))
    assert seen == [(8192, "f16"), (4096, "f16"), (4096, "q8_0"), (2048, "q8_0"), (1024, "q8_0")]
    lowered = plan(machine(ram=6.5), facts)
    assert "lowered from 8,192" in lowered.reason("n_ctx")
    assert lowered.config.n_seq_max == 16


def test_heads_that_do_not_fill_a_block_keep_the_exact_cache() -> None:
    facts = replace(model(7.0, 32, 4096, 11_008, 32, 32, 32_000), key_length=80, value_length=80)
    made = plan(machine(ram=5.5), facts)
    assert made.config.kv_type == "f16"
    assert made.config.n_ctx < 8192


def test_large_gpus_take_larger_batches() -> None:
    small, large = plan(machine(8), B1).config, plan(machine(80), B1).config
    assert (small.n_ubatch, large.n_ubatch) == (512, 1024)
    assert large.n_seq_max > small.n_seq_max
    assert large.step_tokens == 1024


def test_few_threads_where_all_layers_are_on_the_gpu() -> None:
    made = plan(machine(80, cores=16), B1)
    assert (made.config.n_gpu_layers, made.config.n_threads) == (-1, 2)
    assert "GPU" in made.reason("n_threads")
    assert plan(machine(80, cores=16), B1, wishes={"n_threads": 5}).config.n_threads == 5
    assert plan(machine(80, cores=16), B1, wishes={"n_gpu_layers": 3}).config.n_threads == 16
    assert plan(machine(80, cores=16), B1, wishes={"n_gpu_layers": 0}).config.n_threads == 16


@pytest.mark.parametrize(("cores", "quota", "threads"), [(2, None, 2), (128, None, 128), (64, 4.0, 4), (8, 0.5, 1)])
def test_threads(cores: int, quota: float | None, threads: int) -> None:
    made = plan(machine(cores=cores, quota=quota), B1)
    assert made.config.n_threads == threads
    assert ("container" in made.reason("n_threads")) == (quota is not None)


def test_measured_threads_win_over_counted_ones_but_not_over_the_user() -> None:
    measured = replace(machine(cores=8, quota=3.0), measured_threads=1)
    assert plan(measured, B1).config.n_threads == 1
    assert plan(measured, B1).reason("n_threads") == "measured here: 3 threads were not faster"
    assert plan(measured, B1, wishes={"n_threads": 7}).config.n_threads == 7


def test_weights_beyond_memory_are_warned_about() -> None:
    facts = replace(B32, tensor_types=MappingProxyType({"Q4_1": B32.weight_bytes}))
    assert "read from disk" in "".join(" ".join(plan(machine(ram=8), facts).warnings).splitlines())
    assert not plan(machine(ram=64), facts).warnings


# Wishes


@pytest.mark.parametrize(
    "wishes",
    [
        {"n_ctx": 1024},
        {"n_ctx": 100, "n_seq_max": 3},
        {"n_threads": 3},
        {"n_gpu_layers": 5},
        {"n_gpu_layers": 0},
        {"n_gpu_layers": -1, "draft_gpu_layers": 0},
        {"kv_type": "q4_0"},
        {"n_batch": 64, "n_seq_max": 8},
        {"n_ubatch": 4096},
        {"step_tokens": 16},
        {"flash_attention": False},
        {"max_waiting": 3, "default_draft_length": 7},
    ],
)
@pytest.mark.parametrize("gpu", [8, 80])
def test_what_the_user_set_is_kept(wishes: dict[str, Any], gpu: float) -> None:
    made = plan(machine(gpu), B1, DRAFT, wishes)
    for name, value in wishes.items():
        assert getattr(made.config, name) == value
        assert made.reason(name) == "set by you"
    assert min(made.config.n_batch, made.config.step_tokens) >= made.config.n_seq_max


@pytest.mark.parametrize(
    ("hardware", "wishes", "error", "message"),
    [
        (machine(), {"n_cttx": 5}, ConfigError, "Did you mean 'n_ctx'"),
        (machine(), {"n_ctx": 0}, ConfigError, "n_ctx is 0"),
        (machine(), {"n_gpu_layers": 10}, ConfigError, "cannot use a GPU"),
        (machine(), {"kv_type": "q8_0", "flash_attention": False}, ConfigError, "needs flash_attention"),
        (machine(), {"kv_type": "f8"}, ConfigError, "must be one of f16"),
        (
            machine(ram=8),
            {"n_ctx": 1_000_000},
            OutOfMemory,
            r"1,000,000 tokens takes about [\d.]+ GiB and 8.0 GiB are free",
        ),
        (machine(4), {"n_gpu_layers": -1}, OutOfMemory, "on the GPU take about"),
    ],
)
def test_impossible_wishes(hardware: Hardware, wishes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plan(hardware, B7, None, wishes)


def test_a_context_beyond_training_is_warned_about() -> None:
    assert "trained for 8,192" in " ".join(plan(machine(), TINY, None, {"n_ctx": 16_384}).warnings)


# When loading shows that an estimate was too small


def test_step_down_takes_layers_off_the_gpu_then_context() -> None:
    hardware, wishes = machine(8, ram=64), {}
    made: Plan | None = plan(hardware, B7)
    seen = []
    while made is not None:
        seen.append((made.config.n_gpu_layers, made.config.n_ctx))
        made = step_down(made, hardware, B7, None, wishes)
    assert seen == [
        (-1, 8192),
        (22, 8192),
        (15, 8192),
        (8, 8192),
        (1, 8192),
        (0, 8192),
        (0, 4096),
        (0, 2048),
        (0, 1024),
        (0, 512),
    ]


def test_step_down_says_so_and_keeps_wishes() -> None:
    hardware = machine(8, ram=64)
    first = plan(hardware, B7, None, {"n_ctx": 4096})
    second = step_down(first, hardware, B7, None, {"n_ctx": 4096})
    assert second is not None
    assert "did not fit" in second.reason("n_gpu_layers")
    assert "did not fit" in second.warnings[-1]
    assert second.memory.device < first.memory.device
    wishes = {"n_ctx": 4096, "n_gpu_layers": -1}
    assert step_down(plan(hardware, B7, None, wishes), hardware, B7, None, wishes) is None


# The formulas, against what llama.cpp reported (MiB; two layers, so that the last one's shortcut does not show)


@pytest.mark.parametrize(
    ("facts", "n_ctx", "n_ubatch", "n_seq_max", "measured"),
    [
        (TINY, 512, 63, 8, 13.59),
        (TINY, 8192, 63, 16, 15.09),
        (TINY, 8192, 63, 64, 24.28),
        (DRAFT, 8192, 63, 16, 14.97),
        (TINY, 8192, 128, 16, 27.56),
        (TINY, 8192, 512, 1, 21.70),
        (TINY, 8192, 512, 16, 55.72),
        (TINY, 8192, 2048, 16, 89.05),
        (TINY, 8192, 512, 64, 110.25),
        (DRAFT, 8192, 512, 16, 54.77),
        (DRAFT, 8192, 2048, 16, 61.05),
        (B7, 8192, 512, 16, 177.78),
        (B7, 8192, 512, 1, 147.59),
        (B7, 8192, 2048, 16, 597.33),
        (B7, 32_768, 2048, 16, 693.33),
    ],
)
def test_compute_buffers(facts: GGUFFacts, n_ctx: int, n_ubatch: int, n_seq_max: int, measured: float) -> None:
    size = compute_bytes(facts, n_ctx, n_ubatch, n_seq_max) + output_bytes(facts, n_seq_max)
    assert size / MIB == pytest.approx(measured, rel=0.05)


def test_compute_buffer_without_flash_attention() -> None:
    size = compute_bytes(TINY, 8192, 512, 16, flash_attention=False) + output_bytes(TINY, 16)
    assert size / MIB == pytest.approx(169.38, rel=0.05)


def test_kv_cache() -> None:
    assert kv_bytes(TINY, 8192) == 180 * MIB
    assert kv_bytes(DRAFT, 8192) == 16 * MIB
    assert kv_bytes(TINY, 8192, "q8_0") == pytest.approx(180 * MIB * 34 / 64)
    assert kv_bytes(TINY, 8192, layers=10) == 60 * MIB


def test_the_defaults_are_a_valid_config() -> None:
    assert plan(machine(), TINY, DRAFT).config == replace(
        EngineConfig(), n_threads=8, n_ctx=8192, n_seq_max=16, prefix_cache_tokens=512
    )


# Recurrent layers


def recurrent(state_mib: float, *, keeps_snapshots: bool = True) -> GGUFFacts:
    """A model of three quarters recurrent layers that keep so much for each sequence."""
    layers = (True, True, True, False) * 8
    state = round(state_mib * MIB / 4 / sum(layers))
    facts = RecurrentFacts(layers, state, 8192, False, 0, keeps_snapshots)
    heads = tuple(0 if is_recurrent else 4 for is_recurrent in layers)
    return replace(B7, recurrent=facts, kv_heads=heads)


def test_small_states_leave_the_sequences_as_they_are() -> None:
    made = plan(machine(ram=16), recurrent(0.2))
    assert (made.config.n_seq_max, made.config.n_rs_seq, made.config.cached_states) == (16, 8, 4)


def test_large_states_cost_sequences_first_and_then_draft_length() -> None:
    """A state of 50 MiB is one of Qwen3.5 4B."""
    found = [plan(machine(ram=gib), recurrent(50)).config for gib in (64, 24, 12)]
    sizes = [(config.n_seq_max, config.n_rs_seq) for config in found]
    assert sizes[0] == (8, 8)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    made = plan(machine(ram=64), recurrent(50))
    assert "50 MiB" in made.reason("n_seq_max")
    slots = num_slots(made.config, is_recurrent=True)
    assert state_bytes(recurrent(50), slots, made.config.n_rs_seq) <= 64 * GIB / 8


def test_sizes_of_states_that_the_user_set_are_kept() -> None:
    made = plan(machine(ram=16), recurrent(50), None, {"n_rs_seq": 3, "n_seq_max": 2})
    assert (made.config.n_rs_seq, made.config.n_seq_max) == (3, 2)


def test_recurrent_layers_beside_a_window_get_no_snapshots() -> None:
    made = plan(machine(ram=16), replace(recurrent(0.2), has_window=True))
    assert made.config.n_rs_seq == 0
    assert "window" in made.reason("n_rs_seq")


def test_texts_that_llama_cpp_mixes_up_do_not_share_a_cache() -> None:
    facts = replace(B7, architecture="deepseek32")
    for hardware in (machine(ram=64), machine(80, ram=64)):
        made = plan(hardware, facts)
        assert (made.config.n_seq_max, made.config.prefix_cache_tokens) == (1, 0)
        assert "mixes texts" in made.reason("n_seq_max")
    for wish in ({"n_seq_max": 2}, {"prefix_cache_tokens": 512}, {"reproducible": True}):
        with pytest.raises(ConfigError, match="mixes texts"):
            plan(machine(), facts, None, wish)
    assert plan(machine(), B7, facts).config.n_seq_max == 1, "a draft's cache is shared alike"


def test_a_recurrent_draft_has_spare_slots_and_no_snapshots() -> None:
    facts, config = recurrent(10_000), EngineConfig(n_seq_max=4, cached_states=2, n_rs_seq=8)
    assert state_bytes(facts, num_slots(config, is_recurrent=True), 8) / MIB == pytest.approx(6 * 9 * 10_000, rel=1e-3)
    for target, slots in ((facts, 6 + 4), (B7, 4 * 4 + 4)):
        alone, both = (estimate(machine(), target, draft, config).host_cache for draft in (None, facts))
        # The states of its 24 recurrent layers, and the new ones of the layer that is computed.
        assert (both - alone) / MIB == pytest.approx(slots * 10_000 * 25 / 24, rel=0.01)
