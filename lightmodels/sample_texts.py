"""Texts that a classifier of topics has read, and what it makes of them, as Markdown."""

import re
from collections.abc import Sequence

from torch import Tensor

MOST_WORDS = 60  # of a text
MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]{}<>&|!#~"}  # Markdown's, and HTML's


def chosen(true: Tensor, right: Tensor, count: int) -> list[int]:
    """Rows that are right and rows that are wrong, so many of each, the first ones of different classes.

    Args:
        true: classes, shape ``(N,)``.
        right: whether a row is right, shape ``(N,)``.
        count: how many of each, if there are.
    """
    rows: list[int] = []
    for kind in (right, ~right):
        first: dict[int, int] = {}
        for row in kind.nonzero().flatten().tolist():
            first.setdefault(int(true[row]), row)
        rows += list(first.values())[:count]
    return rows


def listed(
    texts: Sequence[Sequence[str]], true: Sequence[int], probabilities: Tensor, names: Sequence[str]
) -> str:
    """Of each text its class, the five likeliest ones and its first words; TensorBoard breaks tables badly.

    Args:
        texts: the words of each.
        true: its class.
        probabilities: of the classes, shape ``(N, classes)``.
        names: of the classes.
    """
    lines = []
    values, classes = probabilities.topk(min(5, probabilities.shape[1]))
    for words, label, likely, best in zip(texts, true, values.tolist(), classes.tolist(), strict=True):
        said = [f"{escaped(names[number])} {value:.1%}" for value, number in zip(likely, best, strict=True)]
        verdict = "right" if best[0] == label else "wrong"
        lines.append(f"**{verdict}**, true **{escaped(names[label])}**, said {', '.join(said)}")
        lines.append(f"> {beginning(words)}")
    return "\n\n".join(lines)


def beginning(words: Sequence[str]) -> str:
    """The first words, with an ellipsis if there are more."""
    shown = escaped(" ".join(words[:MOST_WORDS]))
    return f"{shown} …" if len(words) > MOST_WORDS else shown


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or HTML would take for their own."""
    line = " ".join(text.split()).translate(MARKUP)
    return re.sub(r"^(\d*)([-+=.)])", lambda at: f"{at[1]}&#{ord(at[2])};", line)  # it may begin a list


def report(
    x: Tensor, true: Tensor, probabilities: Tensor, names: Sequence[str], words: dict[int, str]
) -> str:
    """How many of some texts are right, and a few of both kinds.

    Args:
        x: their tokens, shape ``(N, length)``.
        true: their classes, shape ``(N,)``.
        probabilities: of the classes, shape ``(N, classes)``.
        names: of the classes.
        words: of the tokens; others are left out.
    """
    right = probabilities.argmax(1) == true
    rows = chosen(true, right, 3)
    texts = [[words[token] for token in x[row].tolist() if token in words] for row in rows]
    title = f"{int(right.sum()):,} of {len(true):,} texts are right. Some of both kinds:"
    return f"{title}\n\n{listed(texts, true[rows].tolist(), probabilities[rows], names)}"
