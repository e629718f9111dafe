"""What the doctor is shown: models, machines, and where to look in what it says."""

from __future__ import annotations

from exsa_lab.doctor.report import DoctorReport
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.runtime.protocol import UNLIMITED
from exsa_lab.testing import ScriptedModel
from exsa_lab.widgets.panel import Section

FEATURES = [
    "GPU offload",
    "draft model",
    "speculation",
    "continuous batching",
    "batch and context size",
    "KV reuse",
    "streaming",
    "async",
]


def model(name: str = "letters", *, max_rollback: int = UNLIMITED) -> ScriptedModel:
    return ScriptedModel("abc", lambda tokens: [0.2, 0.5, 0.3], name=name, max_rollback=max_rollback)


def hardware(*gpus: GPU, can_offload: bool = False) -> Hardware:
    return Hardware("a CPU", 4, 8, 8, None, 16 << 30, 8 << 30, gpus, can_offload)


def section(found: DoctorReport, title: str) -> Section:
    return next(section for section in found.sections if section.title.startswith(title))
