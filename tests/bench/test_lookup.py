from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exsa_lab.bench.lookup import _measured
from exsa_lab.costs.model import CostModel
from exsa_lab.errors import ConfigError


def test_costs_that_depend_on_the_batchs_shape_are_refused() -> None:
    dear = CostModel.from_measurements({1: 1.0, 8: 1.1}, switch_seconds={"target": 5.0})
    for costs in (None, dear):
        engine: Any = SimpleNamespace(costs=costs)
        with pytest.raises(ConfigError, match="not what they cost here"):
            _measured(engine)
