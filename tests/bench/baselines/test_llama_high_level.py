"""llama-cpp-python's own ``Llama``, on the draft that comes with exsa_lab."""

from __future__ import annotations

import pytest

from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama, PeerRun
from exsa_lab.config import EngineConfig
from exsa_lab.models.resolve import resolve


def test_prefill_does_not_count_for_speed() -> None:
    assert PeerRun(11, decode_s=2.0, total_s=9.0).tokens_per_second == 5.0
    assert PeerRun(1, decode_s=0.0, total_s=1.0).tokens_per_second == 0.0


@pytest.mark.real
@pytest.mark.parametrize("lookup", [0, 4])
def test_it_counts_the_tokens_it_generated(lookup: int) -> None:
    config = EngineConfig(n_ctx=256)
    with HighLevelLlama(resolve("smollm2-135m-draft").path, config, 1, lookup=lookup) as llama:
        run = llama.complete(list(range(100, 110)), 8)
        again = llama.complete(list(range(100, 110)), 8)
    assert 0 < run.num_tokens <= 8
    assert 0 < run.decode_s < run.total_s
    assert run.text == again.text
