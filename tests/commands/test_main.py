"""The console command: ``lightmodels train …`` is ``python scripts/train.py …`` under its own name."""

import pytest
from helpers.commands import command

from lightmodels.cli.main import COMMANDS


def test_help_lists_the_commands_also_as_an_error_if_none_is_given(capfd):
    code, text, err = command(capfd, "lightmodels", "--help")
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert command(capfd, "lightmodels", "-h") == (0, text, "")
    assert command(capfd, "lightmodels") == (2, "", text)


def test_an_unknown_command_is_one_line(capfd):
    ended = command(capfd, "lightmodels", "nonsense", "--help")
    known = "choose one of train, evaluate, predict, export"
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"lightmodels: unknown command nonsense, {known}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_and_errors_name_the_command_as_it_was_called(capfd, name):
    assert command(capfd, "lightmodels", name, "--help").out.startswith(f"usage: lightmodels {name} [")
    assert command(capfd, name, "--help").out.startswith(f"usage: {name}.py [")
    ended = command(capfd, "lightmodels", name, "--nonsense")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert ended.err.startswith(f"lightmodels {name}: ")
