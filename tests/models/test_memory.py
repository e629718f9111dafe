"""What models take while they run, against what llama.cpp reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.models.memory import MAX_SLOTS, num_slots
from tests.models.architectures import write_model
from tests.models.memory_checks import check_memory
from tests.models.recurrent_architectures import BUILDERS


@pytest.mark.parametrize("architecture", BUILDERS)
def test_recurrent_models_take_what_was_planned(architecture: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", architecture, build=BUILDERS[architecture])
    for settings in ({"n_seq_max": 4}, {"n_seq_max": 2, "n_ubatch": 128, "cached_states": 1}):
        check_memory(path, EngineConfig(n_ctx=2048, **settings))  # type: ignore[arg-type]


def test_one_text_at_a_time_has_a_slot_and_no_other_beside_it() -> None:
    for is_recurrent in (False, True):
        assert num_slots(EngineConfig(n_seq_max=1, prefix_cache_tokens=0), is_recurrent=is_recurrent) == 1
        assert num_slots(EngineConfig(n_seq_max=1), is_recurrent=is_recurrent) > 1
        assert num_slots(EngineConfig(n_seq_max=250), is_recurrent=is_recurrent) <= MAX_SLOTS
