"""UnpaddedSampling: distributed samplers deal each row to one process."""

from typing import Any

import pytorch_lightning as pl

from lightmodels.utils.distributed import drop_sampler_padding


class UnpaddedSampling(pl.Callback):
    """Removes the rows that ``DistributedSampler`` repeats, before the first batch is drawn."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and "process_dataloader" not in vars(trainer.strategy):
            strategy: Any = trainer.strategy
            process = strategy.process_dataloader
            strategy.process_dataloader = lambda loader: drop_sampler_padding(process(loader))
