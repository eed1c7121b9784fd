"""Files of tables: formats, separators, and one line for each that cannot be read."""

import json

import pandas as pd
import pytest

from lightmodels.inputs.table_files import read_frame
from lightmodels.utils.data_error import DataError

ROWS = [{"name": "Ann", "size": 1.5}, {"name": "Bob; or, so\nhe says", "size": -2.0}]


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'name,size\nAnn,1.5\n"Bob; or, so\nhe says",-2\n'),
        ("a.csv", 'name;size\r\nAnn;1.5\r\n"Bob; or, so\nhe says";-2\r\n'),
        ("a.csv", '\ufeffname , size\nAnn, 1.5\n"Bob; or, so\nhe says", -2'),
        ("a.tsv", 'name\tsize\nAnn\t1.5\n"Bob; or, so\nhe says"\t-2\n'),
        ("a.txt", 'name|size\nAnn|1.5\n"Bob; or, so\nhe says"|-2\n'),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS))),
    ],
    ids=["commas", "semicolons, CRLF", "byte order mark, spaces", "tabs", "bars", "JSON lines"],
)
def test_files_of_any_format_hold_the_same_rows(tmp_path, name, content):
    frame = read_frame(written(tmp_path / name, content))
    assert frame.rename(columns=str.strip).to_dict("records") == ROWS


def test_parquet_holds_the_same_rows(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    assert read_frame(tmp_path / "a.parquet").to_dict("records") == ROWS


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("no.csv", None, "no.csv cannot be read: No such file or directory"),
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "x,y\n", "a.csv has no rows"),
        ("a.csv", "x,y,x\n1,2,3\n", "a.csv has 2 columns named 'x': rename all but one"),
        ("a.csv", b"x,y\n\xff\xfe,1\n", "a.csv is not UTF-8 text"),
        ("a.csv", "x,y\n1,2\n1,2,3,4\n", "a.csv cannot be read: Error tokenizing data."),
        ("a.csv", 'x,y\n1,"2\n', "a.csv cannot be read: Error tokenizing data."),
        ("a.jsonl", '{"x": 1}\n{"x"', "a.jsonl cannot be read: "),
        ("a.parquet", "x,y\n", "a.parquet cannot be read: "),
    ],
    ids=["missing", "empty", "no rows", "twice", "bytes", "ragged", "open quote", "cut", "not parquet"],
)
def test_files_that_cannot_be_read_have_one_line(tmp_path, monkeypatch, name, content, line):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        written(tmp_path / name, content)
    with pytest.raises(DataError) as error:
        read_frame(name)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_a_column_whose_later_parts_are_texts_is_one_of_texts(tmp_path):
    """pandas reads large files in parts, and would give numbers for the first ones."""
    path = written(tmp_path / "large.csv", "a,b\n" + "007,1\n" * 200_000 + "x,2\n")
    frame = read_frame(path)
    assert set(frame["a"]) == {"007", "x"}
    assert frame["b"].sum() == 200_002
