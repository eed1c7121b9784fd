"""The console command: ``lightmodels train …`` is ``python scripts/train.py …`` under its own name."""

import pytest
from helpers.commands import command

from lightmodels.cli.main import COMMANDS


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands(capfd, flag):
    ended = command(capfd, "lightmodels", flag)
    assert (ended.code, ended.err) == (0, "")
    assert all(f"\n  {name} " in ended.out for name in COMMANDS)


def test_without_a_command_it_shows_the_same_as_an_error(capfd):
    ended = command(capfd, "lightmodels")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == command(capfd, "lightmodels", "--help").out


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
