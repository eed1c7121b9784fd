"""Trains the ring classifier in a loop of your own with Lightning Fabric.

python examples/fabric_loop.py --devices 2 --accelerator cpu
"""

from argparse import ArgumentParser
from typing import Any

import torch
from lightning_fabric import Fabric

from datamodules.ring import RingDataModule
from lightmodels import EpochMeans, History, LightModel, RingDNN
from lightmodels.utils.distributed import all_gather_objects


def run_epoch(fabric: Fabric, net: Any, loader: Any, stage: str, step: Any = None) -> dict[str, float]:
    """One pass over a loader; ``step(loss)`` trains. The exact means over all rows of all processes."""
    net.train(step is not None)
    means = EpochMeans()
    for batch in loader:
        batch = fabric.to_device(batch)
        with torch.set_grad_enabled(step is not None):
            values = net.shared_step(batch)
        rows = len(batch[0])
        means.update(values, rows)
        if step is not None:
            # Gradients are averaged over processes, and shares of a batch may differ by a row.
            step(values["loss"] * (rows / fabric.all_reduce(float(rows), reduce_op="mean")))
    values = means.compute(lambda own: all_gather_objects(own, fabric.world_size))
    return {f"{stage}_{name}": value for name, value in values.items()}


def train(model: LightModel, data: RingDataModule, max_epochs: int, fabric: Fabric) -> History:
    """Trains like ``Trainer(max_epochs=…).fit(model, data)``, with bit-identical results."""
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader()
    for loader in loaders:
        loader.shard(fabric.global_rank, fabric.world_size)
    model.total_steps = max_epochs * len(loaders[0])
    configured: Any = model.configure_optimizers()
    scheduler = configured["lr_scheduler"]["scheduler"]
    net, optimizer = fabric.setup(model, configured["optimizer"])
    net.mark_forward_method("shared_step")

    def step(loss: Any) -> None:
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        scheduler.step()

    for epoch in range(1, max_epochs + 1):
        training = run_epoch(fabric, net, loaders[0], "train", step)
        validation = run_epoch(fabric, net, loaders[1], "val")
        model.history.append({"epoch": epoch, **training, **validation})
        fabric.print(model.history[-1])
    return model.history


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    for name, default in (("accelerator", "auto"), ("strategy", "auto"), ("precision", "32-true")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--max_epochs", type=int, default=30)
    options = vars(parser.parse_args())
    max_epochs = options.pop("max_epochs")
    fabric = Fabric(**options)
    fabric.launch()
    fabric.seed_everything(0)
    train(RingDNN(), RingDataModule(), max_epochs, fabric)


if __name__ == "__main__":
    main()
