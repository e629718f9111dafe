"""What llama.cpp reports to take, against what was planned."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.memory import kv_bytes, memory_usage, num_slots, output_bytes, state_bytes
from exsa_lab.runtime.library import captured_log
from exsa_lab.runtime.model import LlamaModel

MIB = 1 << 20
_REPORTED = re.compile(r"(KV|RS|compute|output) +buffer size = +([\d.]+) MiB")


def check_memory(path: Path, config: EngineConfig) -> None:
    """Caches, states and output buffer are as planned, and all together with weights and computing within 10 %."""
    facts, model = read_facts(path), LlamaModel(path, config)
    slots = num_slots(config, is_recurrent=model.is_recurrent)
    with captured_log() as lines:
        context = model.open_context(config, 1, slots=slots)
    context.close()
    model.close()
    found: Counter[str] = Counter()
    for match in filter(None, (_REPORTED.search(line.text) for line in lines)):
        found[match[1]] += round(float(match[2]) * MIB)
    exact = {"KV": kv_bytes(facts, config.n_ctx), "RS": state_bytes(facts, slots, config.n_rs_seq)}
    for name, size in (exact | {"output": output_bytes(facts, slots)}).items():
        assert found[name] == pytest.approx(size, abs=0.02 * MIB), name
    assert sum(memory_usage(facts, 0, config, slots)) == pytest.approx(found.total() + facts.weight_bytes, rel=0.1)
