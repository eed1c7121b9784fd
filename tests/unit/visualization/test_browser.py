"""TensorBoard's own pages, in a browser, show what a run has left."""

import time
from contextlib import ExitStack
from functools import cache

import pytest
from helpers.browser import chromium, lacking, tensorboard
from helpers.commands import use_tiny_files

import lightmodels
from lightmodels.cli import train
from lightmodels.cli.tasks import TASKS
from lightmodels.cli.train_flags import parse

pytestmark = pytest.mark.browser

TEXT = """
const texts = [];
function visit(node) {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
  if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.tagName)) return;
  if (node.shadowRoot) visit(node.shadowRoot);
  if (node.contentDocument?.body) visit(node.contentDocument.body);
  node.childNodes.forEach(visit);
}
visit(document.body);
return texts.filter(text => text).join("\\n");
"""
PAGES = {
    ("ring", "timeseries"): ["train_loss", "val_acc", "lr", "samples_per_second"],
    ("ring", "scalars"): ["train_loss", "val_acc", "lr", "samples_per_second"],
    ("ring", "custom_scalars"): ["training and validation", "loss", "acc", "learning rate"],
    ("ring", "images"): ["visualization/decision_boundary", "visualization/classes"],
    ("ring", "text"): ["RingDNN, 61 parameters", "2,800 train"],
    ("ring", "hparams"): ["batch_size", "num_rows", "summary/best_val_loss", "summary/final_val_acc"],
    ("mnist", "projector"): [
        "last_hidden_layer:0000",
        "17x32",
        "Points:\n17\nDimension:\n32\n",
        "Label by\ntrue\npredicted",
        "true\n10  colors",
    ],
    ("reuters", "projector"): ["words:0000", "158x7", "Points:\n158\nDimension:\n7\n", "Search by\nlabel\n"],
    ("reuters", "text"): ["texts/news_items/text_summary", "of 24 texts)", "true"],
}


def trained(task, directory):
    """The directory of a short run; of tiny files, as far as the task has files."""
    argv = ["--task", task, "--max_epochs", "2", "--run_dir", str(directory / "run")]
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_files(patch, directory)
        if task != "ring":  # whose figures are looked at
            patch.setattr(getattr(lightmodels, TASKS[task].model), "figures", lambda *_: {})
        train.main(parse([*argv, *([] if task == "ring" else ["--data_dir", str(directory)])]))
    return directory / "run"


@pytest.fixture(scope="module")
def address_of(tmp_path_factory):
    """Gives the address of a TensorBoard that shows one run of a task."""
    with ExitStack() as running:
        yield cache(lambda task: running.enter_context(tensorboard(trained(task, tmp_path_factory.mktemp(task)))))


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium.webdriver")
    if reason := lacking():
        pytest.skip(reason)
    with chromium() as window:
        yield window


@pytest.mark.parametrize(("task", "page"), PAGES)
def test_a_page_shows_the_run(address_of, browser, task, page):
    expected, address = PAGES[task, page], address_of(task)
    browser.get("about:blank")
    browser.get(f"{address}#{page}")
    deadline = time.monotonic() + 40
    missing = expected
    while missing and time.monotonic() < deadline:
        time.sleep(0.3)
        text = browser.execute_script(TEXT)
        missing = [part for part in expected if part not in text]
    assert missing == [], text
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
