"""TensorBoard's own pages, in a browser, show what a run has left."""

import time

import pytest
import train
from browser import chromium, lacking, tensorboard

pytestmark = pytest.mark.browser

TEXT = """
const texts = [];
function visit(node) {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
  if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.tagName)) return;
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
}
visit(document.body);
return texts.filter(text => text).join("\\n");
"""
PAGES = {
    "timeseries": ["train_loss", "val_acc", "lr", "samples_per_second"],
    "custom_scalars": ["training and validation", "loss", "acc", "learning rate"],
    "images": ["figures/decision_boundary", "figures/classes"],
    "text": ["RingDNN, 61 parameters", "fingerprint"],
    "hparams": ["batch_size", "num_rows", "summary/best_val_loss", "summary/final_val_acc"],
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a TensorBoard that shows one run of the ring classifier."""
    run_dir = tmp_path_factory.mktemp("browser") / "run"
    train.main(["--max_epochs", "3", "--run_dir", str(run_dir)])
    with tensorboard(run_dir) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium.webdriver")
    if reason := lacking():
        pytest.skip(reason)
    with chromium() as window:
        yield window


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_run(address, browser, page):
    browser.get("about:blank")
    browser.get(f"{address}#{page}")
    deadline = time.monotonic() + 40
    missing = PAGES[page]
    while missing and time.monotonic() < deadline:
        time.sleep(0.3)
        text = browser.execute_script(TEXT)
        missing = [part for part in PAGES[page] if part not in text]
    assert missing == [], text
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
