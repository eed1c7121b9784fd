"""Text samples: which texts are selected, what is written of them, and that TensorBoard shows it as it is."""

import html
import re

import pytest
import torch
from helpers.commands import use_tiny_files
from tensorboard.plugin_util import markdown_to_safe_html

from datamodules.reuters import TOPICS, ReutersDataModule
from lightmodels import ReutersConv1D
from lightmodels.plots.text_samples import sample_report, worst_report


def test_the_first_texts_of_different_classes_are_selected():
    true = torch.tensor([3, 3, 1, 3, 1, 2, 0, 2, 5])
    predicted = torch.tensor([3, 4, 1, 3, 2, 3, 0, 2, 5])
    x, words = torch.arange(9)[:, None], {i: str(i) for i in range(9)}
    title, *parts = sample_report(x, true, torch.eye(6)[predicted], "abcdef", words).split("\n\n")
    assert title == "Accuracy 66.7 % (6 of 9 texts). Correct and misclassified samples:"
    assert parts[1::2] == ["> 0", "> 2", "> 6", "> 1", "> 4", "> 5"]


def test_a_sample_has_the_true_class_the_five_most_probable_ones_and_the_first_words():
    likely = torch.tensor([[0.5, 0.2, 0.12, 0.08, 0.07, 0.03], [0.0, 0.9, 0.06, 0.04, 0.0, 0.0]])
    x, words = torch.tensor([[1] * 61, [0] * 59 + [2, 3]]), {1: "word", 2: "few", 3: "words"}  # 0 has no word
    _, *parts = sample_report(x, torch.tensor([0, 2]), likely, "abcdef", words).split("\n\n")
    assert parts[0] == "**correct**: true **a**, predicted a 50.0 %, b 20.0 %, c 12.0 %, d 8.0 %, e 7.0 %"
    assert parts[2].startswith("**misclassified**: true **c**, predicted b 90.0 %, c 6.0 %, d 4.0 %, ")
    assert parts[1::2] == ["> " + "word " * 60 + "…", "> few words"]


@pytest.mark.parametrize(
    "word",
    [
        "1. x", "23) x", "- y", "---", "+ y", "a\n---", "*a*", "__b__", "`c`", "[d](e)", "<b>", "a|b",
        "<script>x</script>", "&amp;", "\\*", "![i](j)", "<!--", "# h", "~~s~~", "&#42;", "$x$", "http:",
        "c\n\n# d", "> q",
    ],
)  # fmt: skip
def test_words_and_names_are_shown_as_they_are(word):
    probabilities, words = torch.tensor([[0.25, 0.75]]), {0: word, 1: "after"}
    report = sample_report(torch.tensor([[0, 1]]), torch.tensor([1]), probabilities, ["no", word], words)
    shown = html.unescape(re.sub(r"<[^>]+>", "", markdown_to_safe_html(report)))
    line = " ".join(word.split())
    expected = f"samples: correct: true {line}, predicted {line} 75.0 %, no 25.0 % {line} after"
    assert " ".join(shown.split()).endswith(expected)


def test_the_worst_report_has_the_most_confident_mistakes_and_the_last_words():
    true = torch.tensor([0, 1, 0, 1, 1])
    probability = torch.tensor([0.9, 0.2, 0.99, 0.01, 0.8])  # right in the last row only
    x, words = torch.arange(5)[:, None].repeat(1, 61), {i: f"{i}*" for i in range(5)}
    x[0, :59] = 9  # has no word
    title, *parts = worst_report(x, true, torch.stack([1 - probability, probability], 1), ["bad", "good"], words).split(
        "\n\n"
    )
    assert title == "Accuracy 20.0 % (1 of 5 texts). Most confidently misclassified:"
    assert parts[0::2] == [
        "true **bad**, predicted good 99.0 %",
        "true **good**, predicted bad 99.0 %",
        "true **bad**, predicted good 90.0 %",
        "true **good**, predicted bad 80.0 %",
    ]
    assert parts[1::2] == [f"> … {' '.join(['2&#42;'] * 60)}", f"> … {' '.join(['3&#42;'] * 60)}",
                           "> 0&#42; 0&#42;", f"> … {' '.join(['1&#42;'] * 60)}"]  # fmt: skip


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (5, 5), (50, 6)])
def test_the_worst_report_is_short(wrong, shown):
    true = torch.zeros(60, dtype=torch.long)
    probability = torch.where(torch.arange(60) < wrong, 0.75, 0.25)
    report = worst_report(
        torch.zeros(60, 1).long(), true, torch.stack([1 - probability, probability], 1), "ab", {0: "word"}
    )
    assert report.count("> word") == shown


def test_news_items_are_decoded(monkeypatch):
    use_tiny_files(monkeypatch, "files")
    data = ReutersDataModule("files")
    model, (x, y) = ReutersConv1D(**data.sizes), data.splits.val
    model.data_info = data.info
    with torch.no_grad():
        report = model.eval().texts((x, y), model(x))["news_items"]
    texts = [data.decode(row) for row in x]
    for about, text in zip(*[iter(report.split("\n\n")[1:])] * 2, strict=True):
        row = next(i for i, full in enumerate(texts) if full.startswith(text[2:].removesuffix(" …")))
        assert f"true **{TOPICS[y[row]]}**" in about
