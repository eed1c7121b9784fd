"""Whether a lower or a higher value of a metric is better."""

import re
from typing import Any, Literal

Mode = Literal["min", "max"]
LOWER = (
    "loss", "error", "err", "mae", "mse", "msle", "rmse", "rmsle", "mape", "smape", "wmape", "nll", "perplexity",
    "ppl", "deviance", "divergence", "distance", "hinge", "brier", "ece", "wer", "cer", "fid", "kid", "bpd",
)  # fmt: skip
HIGHER = (
    "acc", "accuracy", "auc", "auroc", "auprc", "f1", "fbeta", "precision", "recall", "sensitivity", "specificity",
    "r2", "iou", "miou", "jaccard", "dice", "ap", "map", "ndcg", "mrr", "kappa", "mcc", "pearson", "spearman",
    "bleu", "rouge", "psnr", "ssim", "hits",
)  # fmt: skip
WORDS: dict[str, Mode] = {**dict.fromkeys(LOWER, "min"), **dict.fromkeys(HIGHER, "max")}


def mode_of(name: str, model: Any) -> Mode | None:
    """The direction in which a metric gets better; None if nothing tells.

    It is that of the ``Metric`` object of this name, as far as the model's steps have returned one (attribute
    ``higher_is_better``), else of the last word of the name that is known, as in ``val_top5_acc``.

    Examples:
        >>> mode_of("val_top5_acc", None), mode_of("val_loss", None), mode_of("val_reward", None)
        ('max', 'min', None)
    """
    higher = getattr(model, "higher_is_better", {}).get(name)
    if higher is not None:
        return "max" if higher else "min"
    words = re.findall(r"[a-z]+\d*", name.partition("/dataloader_idx_")[0].lower())
    return next((WORDS[word] for word in reversed(words) if word in WORDS), None)


def require_mode(name: str, mode: Mode | None, model: Any) -> Mode:
    """The given direction, or that of the metric; raises ValueError if nothing tells."""
    found = mode or mode_of(name, model)
    if found is None:
        raise ValueError(f"monitor {name!r}: pass mode='min' or mode='max', its name does not say which is better")
    return found
