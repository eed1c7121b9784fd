"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> str:
    """The directory of the real files; for tests marked ``real_data``."""
    beside_the_repository = Path(__file__).parents[2] / "shared" / "data"
    directory = Path(os.environ.get("LIGHTMODELS_DATA_DIR", beside_the_repository))
    if not directory.is_dir():
        pytest.skip(f"the real files are not in {directory} (LIGHTMODELS_DATA_DIR)")
    return str(directory)
