"""Hyper-parameter search with Optuna: what is searched, the study, and ``tune``."""
