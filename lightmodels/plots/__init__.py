"""Figures: tensors in, matplotlib figures out; matplotlib is imported when the first figure is drawn."""
