"""Checkpoint files: atomic, verified, plain data only."""
