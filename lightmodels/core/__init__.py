"""LightModel, and what it is made of."""
