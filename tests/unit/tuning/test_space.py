"""Ranges and choices, and what Optuna is asked for."""

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from lightmodels.tuning.space import Choices, Range, parse_range, parse_space, split_choices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4..1e-1", FloatDistribution(1e-4, 1e-1, log=True)),
        ("0.01..0.9", FloatDistribution(0.01, 0.9)),
        ("0.0..1.0", FloatDistribution(0.0, 1.0)),
        ("-1..2.5", FloatDistribution(-1.0, 2.5)),
        (".5..50.", FloatDistribution(0.5, 50.0, log=True)),
        ("1..99", IntDistribution(1, 99)),
        ("1..100", IntDistribution(1, 100, log=True)),
        ("-3..+3", IntDistribution(-3, 3)),
    ],
)
def test_ranges(text, expected):
    trial = optuna.create_study().ask()
    value = parse_range("x", text).suggest(trial, "x")
    assert trial.distributions == {"x": expected}
    assert expected.low <= value <= expected.high
    assert type(value) is (int if isinstance(expected, IntDistribution) else float)


def test_choices_of_any_type():
    values = [[64], [256, 128], None, "relu", 3]
    trial = optuna.create_study().ask()
    assert any(Choices(values).suggest(trial, "x") is value for value in values)
    assert trial.distributions["x"].choices == ("[64]", "[256, 128]", None, "relu", 3)


def test_a_space():
    assert parse_space({"a": "1..3", "b": [1, 2]}) == {"a": Range(1, 3, True), "b": Choices([1, 2])}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": "0.1"}, "lr must be a range, such as 1e-4..1e-1, or a list of values, got '0.1'"),
        ({"lr": "1..x"}, "lr must be a range, such as"),
        ({"lr": "2..1"}, "lr must be a range from a lower to a higher number, got 2..1"),
        ({"lr": []}, r"lr must be a range, such as '1e-4..1e-1', or a list of values, got \[\]"),
        ({"lr": 0.1}, "or a list of values, got 0.1"),
        ({}, "space must have at least one parameter"),
    ],
    ids=["number", "text", "order", "empty", "float", "nothing"],
)
def test_bad_spaces(space, message):
    with pytest.raises(ValueError, match=message):
        parse_space(space)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[64],[256,128]", ["[64]", "[256,128]"]),
        ("relu, elu", ["relu", "elu"]),
        ("0.1", ["0.1"]),
        ("'a,b',{x: [1,2]}", ["'a,b'", "{x: [1,2]}"]),
    ],
    ids=["lists", "words", "one", "quotes"],
)
def test_parts_between_commas(text, parts):
    assert split_choices(text) == parts
