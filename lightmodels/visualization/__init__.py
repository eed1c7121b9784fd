"""Figures, texts, embeddings and run facts, in files and in TensorBoard."""

# Here, as ``loggers`` imports Lightning, and the flags of train need only the names.
LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")
