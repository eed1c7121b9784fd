"""TensorBoard's reader of event files, a TensorBoard on this machine, and a browser to look at it."""

import multiprocessing
import shutil
import signal
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
    from tensorboard import default  # noqa: F401 (all pages, which take a second to import, once)

    context = multiprocessing.get_context("fork")
    addresses, connection = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(str(logdir), connection), daemon=True)
    process.start()
    connection.close()  # so that a process that fails ends the wait
    yield addresses.recv()
    process.terminate()
    process.join()


def _serve(logdir: str, connection: Any) -> None:
    from tensorboard.program import TensorBoard

    server = TensorBoard()
    server.configure(argv=["tensorboard", "--logdir", logdir, "--port", "0"])
    connection.send(server.launch())
    signal.pause()


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
