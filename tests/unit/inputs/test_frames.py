"""Frames: columns of a table as inputs, against scikit-learn, and one line for what cannot be used."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightmodels.inputs.frame_columns import class_name, kind_of
from lightmodels.inputs.frames import Frames, as_frame, fit_columns
from lightmodels.inputs.kinds import inputs_for, is_valid
from lightmodels.utils.data_error import DataError

CITIES = ["Bonn", "Köln", "Bonn", None, "Köln", "Ulm", "Bonn", "Köln"]
FRAME = pd.DataFrame(
    {
        "size": [1.5, 2.5, np.nan, 7.0, 1e6, 3.0, np.nan, 4.0],
        "city": CITIES,
        "when": ["2024-01-31", "2024-02-29 18:30", None, "2023-12-24", *["2024-05-05"] * 4],
        "rooms": [1, 2, 3, 4, 5, 6, 7, 8],
        "garden": [True, False] * 4,
        "same": [0.1] * 8,
    }
)


def info_of(frame, rows=None, categories=(), **others):
    columns = fit_columns(frame, np.arange(len(frame)) if rows is None else np.array(rows), categories, "houses.csv")
    return {"kind": "frame", "features": list(frame.columns), "columns": columns, "others": ["price"], **others}


@pytest.fixture
def frames():
    return inputs_for(info_of(FRAME))


def test_numbers_are_imputed_flagged_and_standardized_as_by_scikit_learn():
    """With the median, mean and deviation of the training rows only."""
    rows, numbers = [0, 1, 2, 3, 5], FRAME[["size", "rooms", "same"]]
    inputs = inputs_for(info_of(numbers, rows))
    x = inputs.preprocess(inputs.encode(numbers, "houses.csv"))
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(numbers.iloc[rows])
    expected = torch.from_numpy(scaled.transform(numbers)).float()
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[:, :3], expected)
    assert x[:, 3].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    assert x.shape == (8, inputs.num_features) == (8, 4)


def test_categories_are_codes_of_which_0_is_for_rare_and_unknown_ones(frames):
    codes = frames.preprocess(frames.encode(FRAME, "houses.csv"))[:, -2:]
    assert frames.cardinalities == [4, 3]  # unknown, Bonn, Köln, missing; unknown, False, True
    assert codes[:, 0].tolist() == [1, 2, 1, 3, 2, 0, 1, 2]  # Ulm is in one row only
    assert codes[:, 1].tolist() == [2, 1] * 4
    other = frames.encode(FRAME.assign(city="Rom", garden="True"), "houses.csv")[:, -2:]
    assert other.tolist() == [[0, 2]] * 8


def test_dates_become_parts(frames):
    raw = frames.encode(FRAME, "houses.csv")  # size, when in five parts, rooms, same, city, garden
    leap_day = (pd.Timestamp("2024-02-29 18:30") - pd.Timestamp("1970-01-01")).total_seconds() / 86400
    assert raw[1, 1:6].tolist() == [leap_day, 2, 29, 3, 18.5]
    assert raw[0, 1:6].tolist() == [19753, 1, 31, 2, 0]
    assert raw[2, 1:6].isnan().all()
    given = FRAME.assign(when=pd.to_datetime(FRAME["when"], format="ISO8601"))
    torch.testing.assert_close(frames.encode(given, "data"), raw, equal_nan=True)


def test_a_constant_column_and_a_date_without_a_time_stay_finite(frames):
    x = frames.preprocess(frames.encode(FRAME.assign(same=7e8), "houses.csv"))
    assert x.isfinite().all()


def test_restored_inputs_are_the_same_when_preprocessed_again(frames):
    x = frames.preprocess(frames.encode(FRAME, "houses.csv"))
    assert torch.equal(frames.preprocess(frames.restore(x)), x)
    random = frames.random(300)
    assert torch.equal(random.nan_to_num(), frames.random(300).nan_to_num())
    assert frames.preprocess(random).isfinite().all()
    assert random.isnan().any()
    wild = torch.tensor([[-1.0, 99.0]])
    assert frames.preprocess(torch.cat([random[:1, :-2], wild], 1))[0, -2:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5, None], ("number", None)),
        (pd.array([1, None, 3], dtype="Int64"), ("number", None)),
        (["1", "2.5", None], ("number", None)),
        ([None, None], ("number", None)),
        ([*map(str, range(19)), "many"], ("number", None)),
        (["0", "1", "2", "3+"], ("category", None)),
        ([True, False, True], ("category", None)),
        (["a", "b", "a"], ("category", None)),
        (pd.to_datetime(["2024-01-01", None]), ("date", "ISO8601")),
        (["2024-01-01", "2024-01-01T12:30:00", "2024-05-05 12:30+02:00"], ("date", "ISO8601")),
        (["31.12.2023", "1.2.2024"], ("date", "%d.%m.%Y")),
        (["12/31/2023", "1/2/2024"], ("date", "%m/%d/%Y")),
        (["31/12/2023", "1/2/2024"], ("date", "%d/%m/%Y")),
        (["2024-01-01", "never"], ("category", None)),
    ],
    ids=str,
)
def test_what_a_column_holds(values, kind):
    assert kind_of(pd.Series(values, name="x"), "data") == kind


def test_numbers_can_be_categories():
    codes = pd.DataFrame({"zip": [53111, 53111, 50667, 50667, 89073]})
    inputs = inputs_for(info_of(codes, categories=["zip"]))
    assert inputs.encode(codes, "data")[:, 0].tolist() == [2, 2, 1, 1, 0]
    assert inputs.encode(codes.astype(float), "data")[:, 0].tolist() == [2, 2, 1, 1, 0]
    assert [class_name(value) for value in (3.0, True, "red")] == ["3", "True", "red"]


def write(**columns):
    frame = FRAME.assign(**columns)
    frame.to_csv("new.csv", index=False)
    return frame


def test_files_frames_and_dicts_give_the_same_rows(frames):
    """The target and a column without a name may be there; the order of columns does not matter."""
    known = FRAME.assign(city=FRAME["city"].replace("Ulm", None))
    known.to_csv("new.csv", index=False)
    known.assign(price=5).iloc[:, ::-1].to_csv("turned.csv", sep=";")
    expected = frames.encode(known, "data")
    for given in (known, known.to_dict("list"), ["new.csv"], [Path("turned.csv")]):
        torch.testing.assert_close(frames.convert(given), expected, equal_nan=True)
    sources, raw = frames.read(["new.csv", "turned.csv"])
    assert [str(source) for source in sources][7:9] == ["new.csv row 8", "turned.csv row 1"]
    torch.testing.assert_close(raw, torch.cat([expected, expected]), equal_nan=True)


def test_unknown_categories_are_counted_in_one_warning(frames):
    write(city=["Rom", "Bonn", "Paris", *["Bonn"] * 5])
    with pytest.warns(UserWarning, match=r"^2 unknown categories, .*: city 2$") as told:
        frames.read(["new.csv"])
    assert len(told) == 1


def test_texts_that_look_like_numbers_stay_texts_in_files():
    codes = pd.DataFrame({"code": ["007", "007", "A1", "A1"]})
    inputs = inputs_for(info_of(codes))
    Path("new.csv").write_text("code\n007\n")
    assert inputs.read(["new.csv"])[1].tolist() == [[1]]


BAD = {
    "text among numbers": (
        {"rooms": ["1", "2", "many", *"45678"]},
        "new.csv row 3, column 'rooms': 'many' is not a number; correct it, or name the column as one of categories",
    ),
    "infinity": ({"size": [1, 2, 3, -np.inf, 5, 6, 7, 8]}, "new.csv row 4, column 'size': -inf is not a finite number"),
    "huge": ({"size": [1e39, *range(7)]}, "new.csv row 1, column 'size': 1e+39 is too large"),
    "no date": (
        {"when": [*["2024-01-01"] * 7, "soon"]}, "new.csv row 8, column 'when': 'soon' is not a date; correct it",
    ),
    "excess": ({"colour": "red"}, "new.csv has a column 'colour', which the training data does not have: remove it"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "line"), BAD.values(), ids=BAD)
def test_bad_cells_and_columns_are_named(frames, columns, line):
    write(**columns)
    with pytest.raises(DataError) as told:
        frames.read(["new.csv"])
    assert str(told.value) == line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (FRAME.drop(columns=["size", "when"]), "data has no column 'size', 'when', which the model was trained on"),
        ([[1.5, 2]], "data must be a DataFrame, a dict of columns or a list of paths, not list"),
        ({"size": [1], "city": ["a", "b"]}, "data is not a table: All arrays must be of the same length"),
        (FRAME.iloc[:0], "data has no rows"),
        (pd.concat([FRAME, FRAME["city"]], axis=1), "data has 2 columns named 'city': rename all but one"),
        (FRAME.assign(city=[[1]] * 8), "data: column 'city' holds neither numbers, texts nor dates"),
    ],
    ids=["missing columns", "list", "lengths", "empty", "twice", "lists"],
)
def test_bad_data_is_described(frames, data, line):
    with pytest.raises(DataError) as told:
        frames.convert(data)
    assert str(told.value) == line


def test_the_description_is_plain_and_checked():
    info = info_of(FRAME)
    assert json.loads(json.dumps(info)) == info
    assert is_valid(info)
    number, city, when = info["columns"][0], info["columns"][1], info["columns"][2]
    for bad in (
        number | {"median": [1]}, number | {"std": []}, number | {"kind": "sound"}, number | {"missing": 1},
        number | {"name": 3}, city | {"categories": [1]}, city | {"text": None}, when | {"format": "%s"}, "size",
    ):  # fmt: skip
        assert not is_valid(info | {"columns": [bad]})
    assert not is_valid(info | {"columns": []})
    assert as_frame({1: [2]}, "data").columns.tolist() == ["1"]
    assert isinstance(inputs_for(info), Frames)
