"""Tensors to matplotlib figures."""
