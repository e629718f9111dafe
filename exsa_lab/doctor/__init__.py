"""What exsa_lab finds here and what it makes of it: `%exsa_doctor` in a notebook, ``exsa-lab doctor`` in a terminal."""

from __future__ import annotations

from exsa_lab.doctor.report import DoctorReport, models, report, status

__all__ = ["DoctorReport", "models", "report", "status"]
