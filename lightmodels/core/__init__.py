"""LightModel, batch-by-batch training, exact resume, loading, summary."""
