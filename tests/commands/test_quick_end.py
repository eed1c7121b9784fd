"""The end of a command's process: as Python's own end, but for the clean-up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, sys, threading, time
from lightmodels.cli.exit_codes import quick_end

class Rest:
    def __del__(self):
        print("taken apart")

def work():
    time.sleep(0.2)
    print("thread")

rest = Rest()
with quick_end():
    atexit.register(print, "handler", end="")
    threading.Thread(target=work).start()
    print("block")
    {last}
"""


def run(last, **streams):
    command = [sys.executable, "-c", SCRIPT.format(last=last)]
    return subprocess.run(command, text=True, check=False, **({"capture_output": True} | streams))


@pytest.mark.parametrize(
    ("last", "code"),
    [("pass", 0), ("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(143)", 143), ("sys.exit('no')", 1), ("1 / 0", 1)],
)
def test_all_but_the_clean_up_is_done(last, code):
    done = run(last)
    assert (done.returncode, done.stdout) == (code, "block\nthread\nhandler")
    assert ("ZeroDivisionError" in done.stderr) == (last == "1 / 0")


def test_output_that_cannot_be_written_fails():
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": ""}
        done = run("pass", capture_output=False, stdout=full, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 120  # Python's own code for it
    assert "No space left" in done.stderr
