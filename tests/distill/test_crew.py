"""Two processes that train one draft, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch gguf")

from exsa_lab.distill.crew import Crew  # noqa: E402

PROGRAM = """
import sys
from pathlib import Path

import numpy as np
import torch
from exsa_lab.distill.crew import Crew
from exsa_lab.distill.drafts import new_draft
from exsa_lab.distill.llama import Shape
from exsa_lab.distill.text import Texts
from exsa_lab.distill.train import Budget, Trainer

out = Path(sys.argv[1])
crew = Crew.join("cpu")
chance = torch.Generator().manual_seed(1)
shape = Shape(32, 1, 1, 1, 64, 50)
target = shape, new_draft(shape, torch.randn(50, 32, generator=chance), 3)
draft = shape, new_draft(shape, torch.randn(50, 32, generator=chance), 4)
tokens = np.random.default_rng(crew.rank).integers(0, 50, (16, 12)).astype(np.int32)
texts = Texts(tokens, np.ones_like(tokens, dtype=bool))
trainer = Trainer(target, draft, texts, seed=0, to="iq4_nl", rows_per_step=8, crew=crew)
trainer.run(Budget(1.0), None, lambda *_: None)
learned = trainer.progress.step
trainer.settle(Budget(0.5), lambda *_: None)
mine = np.concatenate([weight.detach().numpy().ravel() for weight in trainer.weights.values()])
np.savez(out / f"{crew.rank}.npz", weights=mine, steps=[learned, trainer.progress.step])
assert crew.by_first(lambda: crew.rank) == 0
"""


def test_alone_nothing_is_sent() -> None:
    tensor = torch.ones(3)
    Crew().average([tensor])
    assert tensor.tolist() == [1.0, 1.0, 1.0]
    assert Crew().by_first(lambda: 7) == 7


def test_two_processes_take_the_same_steps_to_the_same_weights(tmp_path: Path) -> None:
    """Each learns from text of its own and has a clock of its own."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *here, program, tmp_path],
        check=True,
        timeout=240,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    np.testing.assert_array_equal(first["steps"], second["steps"])
    assert first["steps"][1] > first["steps"][0] > 0
    np.testing.assert_array_equal(first["weights"], second["weights"])
