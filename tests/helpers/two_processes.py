"""Trains and evaluates on two processes; each writes DIRECTORY/<rank>.json.

python two_processes.py DIRECTORY
"""

import functools
import json
import sys
from pathlib import Path

from lightmodels import Trainer  # first, as in a command: what it imports is quicker

# isort: split
import fabric_loop
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchmetrics.classification import BinaryAUROC

from datamodules.ring import RingDataModule
from helpers.models import ManyMetrics, OneCycle, Points, points
from lightmodels import RingDNN
from lightmodels.cli.exit_codes import quick_end
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.distributed import rank


class Counted(ManyMetrics):
    """With a sum that has to be exact to the last digits, and a metric that keeps all rows."""

    def __init__(self):
        super().__init__()
        self.auroc = BinaryAUROC()

    def shared_step(self, batch):
        x, y = batch
        self.auroc.update(self(x).softmax(1)[:, 1].detach(), y)
        return super().shared_step(batch) | {"exact": (x.double().sum(), len(x)), "auroc": self.auroc}


class TimeFirst(Counted):
    """Takes batches ``(T, B, 2)`` from ``time_first``, and says how many rows there are."""

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x[0], y)) | {"size": len(y)}


def time_first(rows):
    x, y = default_collate(rows)
    return x.expand(3, -1, -1), y


def trainer(processes, **options):
    fixed = {"accelerator": "cpu", "strategy": "ddp" if processes > 1 else "auto", "enable_checkpointing": False}
    return Trainer(devices=processes, logger=False, **fixed, **options)


def evaluate(processes):
    """Metrics and predictions of 1 to 17 rows, twice what two processes take, from a TensorLoader and a DataLoader."""
    results = {}
    pl.seed_everything(0, verbose=False)
    model = Counted()
    models = {"time first": TimeFirst()}
    for rows in range(1, 18):
        data = points(rows)
        dataset = TensorDataset(*data)
        for kind, loader in (
            ("tensors", TensorLoader(*data, batch_size=4)),
            ("plain", DataLoader(dataset, batch_size=4)),
            ("time first", DataLoader(dataset, batch_size=4, collate_fn=time_first)),
        ):
            ours = trainer(processes)
            tested = ours.test(models.get(kind, model), loader, verbose=False)[0]
            results[f"{kind} {rows}"] = {"tested": tested}
            if kind == "tensors" or (kind == "plain" and rows > 1):  # Lightning's sampler needs a row per process
                results[f"{kind} {rows}"]["predicted"] = ours.predict(model, loader).tolist()
    return results


def three_epochs(processes, way):
    """History and weights: of a model with dropout by the Trainer, compiled or not, or a Fabric loop; of the ring's."""
    pl.seed_everything(0, verbose=False)
    model, data = OneCycle(), Points(batch_size=25)
    if way == "ring":  # no batch can be divided evenly
        model, data = RingDNN(), RingDataModule(num_rows=2003, test_rows=10, batch_size=101)
    if way == "fabric":
        fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
        fabric.launch()
        pl.seed_everything(rank(), verbose=False)
        fabric_loop.train(model, data, 3, fabric)
    else:
        pl.seed_everything(rank(), verbose=False)
        trainer(processes, max_epochs=3, compile=way == "compiled").fit(model, data)
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return {"history": list(model.history), "weights": weights}


def results(processes):
    """What is compared, as plain data."""
    ways = ("ring", "fit", "fabric", "compiled")[: 4 if processes > 1 else 3]
    return {way: three_epochs(processes, way) for way in ways} | {"evaluate": evaluate(processes)}


def main():
    torch.set_num_threads(1)
    torch.compile = functools.partial(torch.compile, backend="eager")  # fast: generates no code
    found = json.dumps(results(2))
    Path(sys.argv[1], f"{torch.distributed.get_rank()}.json").write_text(found)


if __name__ == "__main__":
    with quick_end():
        main()
