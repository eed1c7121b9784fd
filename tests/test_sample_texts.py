"""Sample texts: which are chosen, what they say, and that TensorBoard shows them as they are."""

import html
import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tiny_files import accepted, write_reuters

from datamodules.reuters import TOPICS, ReutersDataModule
from lightmodels import ReutersConv1D, Trainer, load, sample_texts


def shown(markdown):
    """What a reader sees, without the layout."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markdown_to_safe_html(markdown))).split())


def test_the_first_of_different_classes_are_chosen_of_right_and_of_wrong_ones():
    true = torch.tensor([3, 3, 1, 3, 1, 2, 0, 2, 5])
    right = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 1]).bool()
    assert sample_texts.chosen(true, right, 3) == [0, 2, 6, 1, 4, 5]
    assert sample_texts.chosen(true, torch.ones(9).bool(), 2) == [0, 2]
    assert sample_texts.chosen(true[:0], right[:0], 2) == []


def test_a_text_has_its_class_the_five_likeliest_and_its_first_words():
    likely = torch.tensor([[0.5, 0.2, 0.12, 0.08, 0.07, 0.03], [0.0, 0.9, 0.06, 0.04, 0.0, 0.0]])
    words = [["word"] * 61, ["few", "words"]]
    made = sample_texts.listed(words, [0, 2], likely, ["a", "b", "c", "d", "e", "f"])
    first, beginning, second, few = made.split("\n\n")
    assert first == "**right**, true **a**, said a 50.0%, b 20.0%, c 12.0%, d 8.0%, e 7.0%"
    assert beginning == "> " + "word " * 60 + "…"
    assert second.startswith("**wrong**, true **c**, said b 90.0%, c 6.0%, d 4.0%, ")
    assert few == "> few words"


def test_few_classes_are_all_shown():
    made = sample_texts.listed([["x"]], [1], torch.tensor([[0.25, 0.75]]), ["no", "yes"])
    assert made.splitlines()[0] == "**right**, true **yes**, said yes 75.0%, no 25.0%"


@pytest.mark.parametrize(
    "word",
    [
        "1. x", "23) x", "- y", "---", "+ y", "a\n---",
        "*a*", "__b__", "`c`", "[d](e)", "<b>", "<script>x</script>", "&amp;", "a|b", "\\*", "![i](j)",
        "<!--", "# h", "~~s~~", "&#42;", "$x$", "http:", "c\n\n# d", "> q",
    ],
)  # fmt: skip
def test_a_text_is_shown_as_it_is(word):
    line = " ".join(word.split())
    assert shown(f"title\n\n> {sample_texts.beginning([word, 'after'])}") == f"title {line} after"
    assert shown(f"**before {sample_texts.escaped(word)}** after") == f"before {line} after"


def test_the_wires_of_a_run_are_in_the_events_as_the_best_weights_see_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_reuters("files")
    monkeypatch.setattr(ReutersDataModule, "files", accepted(ReutersDataModule.files, "files"))
    data = ReutersDataModule("files")
    Trainer(max_epochs=4, run_dir="run", gpus=0).fit(ReutersConv1D(**data.sizes), data)
    found = EventAccumulator("run", size_guidance={"tensors": 0})
    found.Reload()
    events = found.Tensors("texts/wires/text_summary")
    steps = -(-len(data.splits.train[0]) // 32)
    assert [events[0].step, events[-1].step] == [steps, 4 * steps]
    title, *parts = events[-1].tensor_proto.string_val[0].decode().split("\n\n")
    x, y = data.splits.val
    with torch.no_grad():
        likely = load("run/checkpoints/best.ckpt").eval()(x).softmax(1)
    right = likely.argmax(1) == y
    assert title == f"{int(right.sum())} of {len(x)} texts are right. Some of both kinds:"
    assert len(parts) == 2 * (min(3, len(y[right].unique())) + min(3, len(y[~right].unique())))
    texts = [data.decode(row) for row in x]
    for about, text in zip(parts[::2], parts[1::2], strict=True):
        row = next(i for i, full in enumerate(texts) if full.startswith(text[2:].removesuffix(" …")))
        verdict, topic = re.match(r"\*\*(\w+)\*\*, true \*\*([\w-]+)\*\*", about).groups()
        assert (verdict, topic) == ("right" if right[row] else "wrong", TOPICS[y[row]])
        best = likely[row].topk(5)
        said = [f"{TOPICS[i]} {value:.1%}" for value, i in zip(best.values, best.indices, strict=True)]
        assert [part.split()[0] for part in about.partition(", said ")[2].split(", ")] == [
            part.split()[0] for part in said
        ]
    assert Path("run/projector_config.pbtxt").exists()
