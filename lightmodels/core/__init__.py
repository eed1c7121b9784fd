"""LightModel and what belongs to it."""
