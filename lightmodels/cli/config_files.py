"""Reads YAML from files and flags within limits, so that a small file cannot take hours or all memory to read."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_dumper, set_loader

from lightmodels.cli.exit_codes import UsageError

MAX_BYTES = 100_000
MAX_DEPTH = 20  # of nested lists and mappings
MODE = "limited_yaml"  # the name of this loader in jsonargparse


class LimitError(yaml.YAMLError):
    """YAML beyond the limits; the message says which."""


def configured(path: str, name: str = "task") -> Any:
    """An option in a configuration file, or None; UsageError names a file that cannot be used."""
    try:
        with Path(path).open("rb") as file:
            content = load(file.read(MAX_BYTES + 1).decode())  # devices have no size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(f"--config {path} cannot be read ({reason})") from error
    except LimitError as error:
        raise UsageError(f"--config {path} {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not a YAML file") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} has no options")
    return content.get(name)


def load(text: str) -> Any:
    """The value of a YAML text, as jsonargparse reads it.

    Raises LimitError if it is too long, nested too deeply, or refers to other parts of itself.
    """
    if len(text) > MAX_BYTES:
        raise LimitError(f"is larger than {MAX_BYTES // 1000} kB, too large for options")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # not recursive
        if isinstance(event, yaml.AliasEvent):
            raise LimitError(f"refers to another part of itself (*{event.anchor}): write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise LimitError(f"is nested more than {MAX_DEPTH} levels deep, which no option is")
    return get_loader("yaml")(text)


def _dump(data: Any) -> str:
    return yaml.safe_dump(data, default_flow_style=False, allow_unicode=True, sort_keys=False)


set_loader(MODE, load, exceptions=(yaml.YAMLError,))
set_dumper(MODE, _dump)
