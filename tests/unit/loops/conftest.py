"""Fixtures for tests of the loops."""

import functools

import pytest
import torch


@pytest.fixture
def compile_with(monkeypatch):
    """Makes ``torch.compile`` use another backend."""
    ours = torch.compile
    return lambda backend: monkeypatch.setattr(torch, "compile", functools.partial(ours, backend=backend))


@pytest.fixture
def eager_backend(compile_with):
    """Graphs are captured by torch.compile but run by PyTorch, as code generation takes seconds."""
    compile_with("eager")
