"""Change a setting, run, see, compare: sliders and live charts on the kernel's engine."""

from exsa_lab.tuner.tuner import Tuner

__all__ = ["Tuner"]
