"""Exact values of epochs, and the history."""
