"""TensorBoard's reader of event files, a TensorBoard on this machine, and a browser to look at it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def events(run_dir: Any = "run") -> Any:
    """All that TensorBoard finds in the event files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kinds = ("scalars", "tensors", "images")
    found = EventAccumulator(str(run_dir), size_guidance=dict.fromkeys(kinds, 0))
    found.Reload()
    return found


def lacking() -> str | None:
    """What keeps this machine from opening a browser; None if nothing does."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(missing)} not installed" if missing else None


@contextmanager
def tensorboard(logdir: Any) -> Iterator[str]:
    """The address of a TensorBoard that shows a directory."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = filter(None, (re.search(r"http://localhost:\d+/", line) for line in process.stderr))
        yield next(found)[0]
        process.terminate()


@contextmanager
def chromium(width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """A window without a screen, driven by selenium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as window:
        yield window
