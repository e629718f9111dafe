"""What exsa_lab finds here and what it makes of it: `%exsa_doctor` in a notebook, ``exsa-lab doctor`` in a terminal.

``xl.doctor()`` is `report`.
"""

from __future__ import annotations

from exsa_lab.doctor.machine import build_command
from exsa_lab.doctor.models import describe
from exsa_lab.doctor.report import DoctorReport, models, report, status
from exsa_lab.lazy import callable_package

__all__ = ["DoctorReport", "build_command", "describe", "models", "report", "status"]

callable_package(__name__, report)
