"""EpochLogger: a TensorBoard logger whose x-axis is epochs."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger


class EpochLogger(TensorBoardLogger):
    """Puts values of a test at the epochs trained, where Lightning puts them at the steps made."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        if "epoch" in values and all(name.startswith(("test_", "val_", "epoch")) for name in values):
            step = int(values.pop("epoch"))
        super().log_metrics(values, step)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Nothing: checkpoints have their own directory."""
