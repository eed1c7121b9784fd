"""Comparison of checkpoints."""

import torch

from lightmodels import History

TIMES = ("seconds", "samples_per_second")


def rows_of(state):
    """The rows of a history's state."""
    history = History()
    history.load_state_dict(state)
    return list(history)


def flat(value, name=""):
    """Every leaf of a checkpoint by its path, except measured times."""
    if isinstance(value, dict) and value.keys() == History().state_dict().keys():
        value = rows_of(value)
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = (flat(part, f"{name}/{key}") for key, part in items if key not in TIMES)
        return {path: leaf for part in parts for path, leaf in part.items()}
    return {name: value}


def different(one, other, ignore=()):
    """The leaves that are not bit-identical, by path."""
    ours, theirs = flat(one), flat(other)
    paths = [path for path in {**ours, **theirs} if path.rpartition("/")[2] not in ignore]
    return {path: (ours.get(path), theirs.get(path)) for path in paths if not _same(ours.get(path), theirs.get(path))}


def _same(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    return a == b or (a != a and b != b)
