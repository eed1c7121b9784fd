"""Fixtures for tests of the loops."""

import functools

import pytest
import torch

torch_compile = torch.compile


@pytest.fixture
def compile_with(monkeypatch):
    """Makes ``torch.compile`` use another backend."""

    def use(backend):
        @functools.wraps(torch_compile)
        def compiled(function, **options):
            options.pop("options", None)
            return torch_compile(function, backend=backend, **options)

        monkeypatch.setattr(torch, "compile", compiled)

    return use


@pytest.fixture
def eager_backend(compile_with):
    """Graphs are captured by torch.compile but run by PyTorch, as code generation takes seconds."""
    compile_with("eager")
