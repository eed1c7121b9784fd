"""Trainer: arguments, devices, run directory, repeated fits."""
