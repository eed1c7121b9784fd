"""The git commit of the working directory, asked for while a training goes on."""

import os
import subprocess
from contextlib import suppress

COMMAND = ("git", "status", "--porcelain=v2", "--branch", "--untracked-files=no")


class GitState:
    """Asks git, without waiting for it, for the commit of the working directory and the changes since."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        options = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # leaves the index alone, which others may be using
        quiet = subprocess.DEVNULL
        with suppress(OSError):  # git is not installed
            self._process = subprocess.Popen(
                COMMAND, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True, errors="replace", env=options
            )

    @property
    def is_known(self) -> bool:
        """Whether git has answered, or there is none."""
        return self._process is None or self._process.poll() is not None

    def describe(self, timeout: float = 5) -> str | None:
        """The commit, and whether the tracked files are as in it; None without git, repository, commit or answer."""
        if self._process is None:
            return None
        try:
            lines = self._process.communicate(timeout=timeout)[0].splitlines()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()  # closes the pipe
            return None
        facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
        commit = facts.get("branch.oid", "(initial)")
        if self._process.returncode or commit == "(initial)":
            return None
        changed = sum(not line.startswith("#") for line in lines)
        return f"{commit[:12]}, {f'uncommitted changes in {changed} of its files' if changed else 'clean'}"
