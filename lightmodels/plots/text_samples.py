"""Samples of texts with their predicted classes, as Markdown."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_WORDS = 60  # of a text
MAX_MISTAKES = 6  # in a report of the worst
MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]{}<>&|!#~"}  # Markdown's, and HTML's


def sample_report(x: Tensor, true: Tensor, probabilities: Tensor, names: Sequence[str], words: dict[int, str]) -> str:
    """The accuracy, then up to three correct and three misclassified texts with the most probable classes.

    Tokens ``x`` have shape ``(N, length)``, true classes ``(N,)``, probabilities ``(N, classes)``; ``names`` has one
    name for each class, ``words`` the word of each token. Tokens without a word are left out.
    """
    correct = probabilities.argmax(1) == true
    accuracy = f"Accuracy {100 * float(correct.float().mean()):.1f} %"
    parts = [f"{accuracy} ({int(correct.sum()):,} of {len(true):,} texts). Correct and misclassified samples:"]
    for row in [*_first_of_each_class(true, correct)[:3], *_first_of_each_class(true, ~correct)[:3]]:
        values, classes = probabilities[row].topk(min(5, len(names)))
        top = [f"{_escape(names[i])} {100 * p:.1f} %" for p, i in zip(values.tolist(), classes.tolist(), strict=True)]
        verdict = "correct" if correct[row] else "misclassified"
        parts.append(f"**{verdict}**: true **{_escape(names[int(true[row])])}**, predicted {', '.join(top)}")
        text = [words[token] for token in x[row].tolist() if token in words]
        parts.append(f"> {_escape(' '.join(text[:MAX_WORDS]))}{' …' if len(text) > MAX_WORDS else ''}")
    return "\n\n".join(parts)  # TensorBoard does not lay out tables well


def worst_report(x: Tensor, true: Tensor, probabilities: Tensor, names: Sequence[str], words: dict[int, str]) -> str:
    """The accuracy, then the misclassified texts with the highest probability of the wrong class.

    Arguments are those of ``sample_report``. Of long texts the end is shown, where reviews tend to sum up.
    """
    confidence, predicted = probabilities.max(1)
    wrong = predicted != true
    accuracy = f"Accuracy {100 * float((~wrong).float().mean()):.1f} %"
    parts = [f"{accuracy} ({int((~wrong).sum()):,} of {len(true):,} texts). Most confidently misclassified:"]
    confidence = torch.where(wrong, confidence, -1.0)
    for row in confidence.argsort(descending=True, stable=True)[: min(int(wrong.sum()), MAX_MISTAKES)].tolist():
        share = 100 * float(confidence[row])
        parts.append(
            f"true **{_escape(names[int(true[row])])}**, predicted {_escape(names[int(predicted[row])])} {share:.1f} %"
        )
        text = [words[token] for token in x[row].tolist() if token in words]
        parts.append(f"> {'… ' if len(text) > MAX_WORDS else ''}{_escape(' '.join(text[-MAX_WORDS:]))}")
    return "\n\n".join(parts)


def _first_of_each_class(true: Tensor, mask: Tensor) -> list[int]:
    """The first row of each class among the rows of the mask."""
    first: dict[int, int] = {}
    for row in mask.nonzero().flatten().tolist():
        first.setdefault(int(true[row]), row)
    return list(first.values())


def _escape(text: str) -> str:
    """The text on one line, with all characters escaped that Markdown or HTML would interpret."""
    line = " ".join(text.split()).translate(MARKUP)
    return re.sub(r"^(\d*)([-+=.)])", lambda at: f"{at[1]}&#{ord(at[2])};", line)  # could begin a list
