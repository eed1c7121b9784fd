"""Runs commands that report their progress, however slow the machine is."""

import subprocess
import threading


def run_watched(command: list, silence: float = 300, **options) -> None:
    """Runs a command that prints a line after each of its steps.

    Args:
        command: the command and its arguments.
        silence: seconds without a line after which it is killed.
        options: for ``Popen``.

    Raises:
        AssertionError: it failed or was killed; the message has its last lines.
    """
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*map(str, command)], **pipes, **options) as process:
        while True:
            timer = threading.Timer(silence, process.kill)
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line:
                break
            lines.append(line)
    ended = f"ended with {process.returncode} (-9: no line for {silence} s), after:\n{''.join(lines[-30:])}"
    assert process.returncode == 0, f"{command} {ended}"
