"""What the doctor says of the plan."""

from __future__ import annotations

from exsa_lab import loading
from exsa_lab.doctor import report
from tests.doctor.parts import section


def test_the_plan_gives_a_reason_for_each_setting() -> None:
    loading.unload()
    made = section(report(), "Plan")
    assert {"n_ctx", "n_threads", "n_gpu_layers", "flash_attention"} <= {row[0] for row in made.rows}
    assert all(reason for _, _, reason in made.rows)
    assert dict(section(report(), "Memory").rows)["at full context"]
