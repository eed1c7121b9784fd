"""Fixtures for all tests."""

import functools
import gc
import importlib.metadata
import os
import signal
from pathlib import Path

import pytest
from helpers import ROOT

# Before torch starts its threads, also in the processes that tests start: the nets are tiny, and two
# busy processes of two threads each on two cores take ten times as long as of one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start find ``helpers`` too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

# A tenth of the time was garbage collection, of the million objects that imports leave.
gc.set_threshold(50_000)
# Each Trainer of Lightning reads the metadata of all installed packages.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

# Tests send Ctrl-C, which shells make processes in the background ignore, and these pass that on.
signal.signal(signal.SIGINT, signal.default_int_handler)

DRAWING = {"test_figure_callback", "test_projector", "test_text_samples", "test_train", "test_damage", "test_browser"}


def pytest_configure(config):
    """Hides GPUs from all tests but those of GPUs: by default, a Trainer uses one."""
    if not config.option.markexpr.startswith("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_figures(request, monkeypatch):
    """Draws figures, which take longer than the small trainings of tests, in the tests of figures only."""
    if request.path.stem not in DRAWING:
        logger = "lightmodels.visualization.figure_callback.FigureLogger"
        monkeypatch.setattr(f"{logger}.on_train_start", lambda *_: None)


@pytest.fixture(scope="session")
def data_dir() -> str:
    """The directory of the real files; for tests marked ``real_data``."""
    directory = Path(os.environ.get("LIGHTMODELS_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"the real files are not in {directory} (LIGHTMODELS_DATA_DIR)")
    return str(directory)
