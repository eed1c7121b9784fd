"""Handwritten digits of 8 x 8 pixels: the data and a net."""
