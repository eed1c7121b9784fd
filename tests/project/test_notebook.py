"""The notebooks run, and display history, trainer and figure; the HTML of a history is escaped."""

import ast
import base64
import json
import pickle

import pytest
import pytorch_lightning as pl
from helpers import ROOT

from lightmodels import History

NOTEBOOK = ROOT / "examples" / "quick_start.ipynb"
OWN_DATA = ROOT / "examples" / "own_data.ipynb"
ROWS = [{"epoch": n, "train_loss": 1 / n, "val_loss": abs(n - 8) + 0.5} for n in range(1, 13)]


def test_the_table_shows_the_last_rows_marks_the_best_epoch_and_escapes_names():
    shown = History([*ROWS[:11], {"epoch": 12, "train_loss": 0.1}])._repr_html_()
    assert shown.count("<tr") == 1 + 10
    (marked,) = [line for line in shown.splitlines() if "*</td>" in line]
    assert "<td>8</td>" in marked
    assert "10 of 12 epochs; * best epoch 8" in shown
    assert "<td>0.1</td><td>-</td>" in shown
    escaped = History([{"epoch": 1, "val_<script>": 0.5}])._repr_html_()
    assert "<script>" not in escaped
    assert "&lt;script&gt;" in escaped
    assert "0 of 0 epochs" in History()._repr_html_()


def test_a_plot_displays_as_png_and_can_be_pickled():
    figure = History(ROWS).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure)).axes[0].get_ylabel() == "loss"


@pytest.mark.parametrize("notebook", [NOTEBOOK, OWN_DATA], ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_the_notebook_runs_and_displays_table_and_figure(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    (table,) = outputs["history"]
    assert "* best epoch" in table.data["text/html"]
    (facts,) = outputs["trainer"]
    assert "<th>epochs</th><td>8 of 8</td>" in facts.data["text/html"]
    (figure,) = outputs["history.plot()"]
    assert base64.b64decode(figure.data["image/png"]).startswith(b"\x89PNG")
    streams = [each for shown in outputs.values() for each in shown if each.output_type == "stream"]
    assert {each.name for each in streams} == {"stdout"}
    assert all("\x1b" not in each.text and "GPU available" not in each.text for each in streams)


def test_the_notebook_on_own_data_predicts_what_the_table_says():
    """Its cells, without a kernel, which takes longer to start than they to run."""
    pl.seed_everything(0, verbose=False)
    cells = [cell for cell in json.loads(OWN_DATA.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    for cell in cells:
        *_, last = ast.parse("".join(cell["source"])).body
        exec(compile("".join(cell["source"]), "cell", "exec"), names)
    shown = eval(ast.unparse(last), names)  # what the last cell displays
    assert list(shown.predicted) == list(names["frame"].loc[shown.index, "diagnosis"])
    assert (shown.probability > 0.5).all()
    assert names["report"].values["accuracy"] > 0.93
