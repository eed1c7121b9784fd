"""write_flags.py: the flags of train are the arguments of the constructors."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Optional, Union

import pytest
from helpers import ROOT
from write_flags import files, type_text


def test_the_flags_are_those_of_the_constructors():
    for path, text in files().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)} is out of date: run make flags"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Optional[Union[int, str]], "int | str | None"),  # noqa: UP007, UP045 (as in Lightning)
        (int | str | None, "int | str | None"),
        (Literal["a", 1] | None, "Literal['a', 1] | None"),
        (Sequence[int] | Mapping[str, Any], "Sequence[int] | Mapping[str, Any]"),
        (Iterable[dict[str, list[float]]], "Iterable[dict[str, list[float]]]"),
        (timedelta, "timedelta"),
    ],
)
def test_types_are_written_the_same_with_every_version_of_python(kind, text):
    assert type_text(kind) == text
