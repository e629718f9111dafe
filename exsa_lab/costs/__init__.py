"""What a step costs on this machine: measured curves, calibration at load, their cache on disk."""
