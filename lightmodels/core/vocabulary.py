"""The words of a text model: those of its tokens, from the data's ``info``, and their embeddings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightmodels.core.embedding import Embedding
from lightmodels.metrics.class_values import is_multi_label
from lightmodels.plots import defaults, text_samples

MOST_COMMON_WORDS = 1_000  # in the projector
UNKNOWN = 2  # the token of words outside the vocabulary


def token_words(info: dict[str, Any], num_words: int) -> dict[int, str]:
    """The word of each token below ``num_words``; none if ``info`` does not describe a text data set.

    The rarer a word, the higher its token.
    """
    if "word_index" not in info or "tokens" not in info:
        return {}
    offset = info["tokens"]["offset"]
    return {rank + offset: word for word, rank in info["word_index"].items() if rank + offset < num_words}


def mask_words(x: Tensor, probability: float) -> Tensor:
    """Tokens ``(N, length)`` with words replaced by "unknown" at random; padding and start stay."""
    if not probability:
        return x
    masked = torch.rand(x.shape, device=x.device) < probability
    return x.masked_fill(masked & (x > UNKNOWN), UNKNOWN)


def word_embeddings(words: dict[int, str], weight: Tensor) -> dict[str, Embedding]:
    """The rows of an embedding's ``weight`` ``(num_words, D)`` for the most common words; none without words.

    Numbers are left out, as the projector would show them without leading zeros.
    """
    words = {token: word for token, word in words.items() if not word.isdecimal()}
    tokens = sorted(words)[:MOST_COMMON_WORDS]
    return {"words": Embedding(weight[tokens], [words[token] for token in tokens])} if tokens else {}


def worst_texts(model: Any, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, str]:
    """The texts that a model misclassifies most confidently, for its ``texts``; nothing without a vocabulary.

    The batch is tokens ``(N, length)`` and classes ``(N,)`` or ``(N, 1)``; outputs are logits ``(N, classes)``, or that
    of the second of two classes, ``(N, 1)``. There are none if texts can be of several classes.
    """
    if is_multi_label(batch[1]) or not (words := token_words(model.data_info, model.hparams["num_words"])):
        return {}
    x, y, logits = batch[0].cpu(), batch[1].reshape(-1).long().cpu(), outputs.float().cpu()
    one = logits.shape[1] == 1
    probabilities = torch.cat([-logits, logits], 1).sigmoid() if one else logits.softmax(1)  # (N, classes)
    names = defaults.class_names(model, probabilities.shape[1])
    return {"worst_texts": text_samples.worst_report(x, y, probabilities, names, words | {UNKNOWN: "?"})}
