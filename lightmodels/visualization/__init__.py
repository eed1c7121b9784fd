"""Figures, texts, embeddings and run facts, in files and in TensorBoard."""
