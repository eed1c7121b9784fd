"""LightModel, batch-by-batch training, loading, summary."""
