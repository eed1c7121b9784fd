"""Fused optimizers and learning-rate schedules."""
