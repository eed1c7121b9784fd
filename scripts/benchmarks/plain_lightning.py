"""Plain Lightning as its docs write it: DataLoader, ``self.log``, torchmetrics, a default Trainer."""

import tempfile

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from benchmarks import hand_loop
from benchmarks.clock import timed
from benchmarks.metrics import metrics
from benchmarks.plain import Plain

Batch = tuple[Tensor, Tensor]


class Module(pl.LightningModule):
    """The net with its loss, metrics and optimizer."""

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.plain, self.net = plain, plain.net
        self.train_metrics, self.val_metrics = (nn.ModuleDict(metrics(plain.task)) for _ in range(2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.step(batch, "train", self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.step(batch, "val", self.val_metrics)

    def step(self, batch: Batch, stage: str, values: nn.ModuleDict) -> Tensor:
        x, y = batch
        outputs = self.plain.outputs(x)
        loss = self.plain.loss(outputs, y)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        for name, metric in values.items():
            metric(outputs, y)
            self.log(f"{stage}_{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.plain.optimizer(self.parameters(), **self.plain.options)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.plain.rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs, in a directory that is gone afterwards.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    pl.seed_everything(plain.seed, verbose=False)
    accelerator = "gpu" if plain.device.type == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as directory:
        trainer = pl.Trainer(
            max_epochs=epochs, default_root_dir=directory, accelerator=accelerator, devices=1
        )
        module, (train_rows, val_rows) = Module(plain), hand_loop.loaders(plain)
        marks = timed(trainer, lambda: trainer.fit(module, train_rows, val_rows))
        return marks, trainer.callback_metrics["val_loss"].item()
