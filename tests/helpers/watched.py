"""Runs commands that report their progress, however slow the machine is."""

import subprocess
import threading


def run_watched(command: list, silence: float = 300, **options) -> None:
    """Runs a command, which must not fail nor be silent for so many seconds; ``options`` are those of ``Popen``."""
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*map(str, command)], **pipes, **options) as process:
        while not lines or lines[-1]:
            timer = threading.Timer(silence, process.kill)
            timer.start()
            lines.append(process.stdout.readline())
            timer.cancel()
    ended = f"ended with {process.returncode} (-9: no line for {silence} s), after:\n{''.join(lines[-30:])}"
    assert process.returncode == 0, f"{command} {ended}"
