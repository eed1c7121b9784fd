"""Figures, texts, embeddings and run facts, to files and TensorBoard."""
