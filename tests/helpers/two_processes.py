"""Trains and evaluates on two processes; each writes DIRECTORY/<rank>.json.

python two_processes.py DIRECTORY: prints lines all the while.
"""

import functools
import json
import sys
from pathlib import Path

import fabric_loop
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchmetrics.classification import BinaryAccuracy

from datamodules.ring import RingDataModule
from helpers.models import Classifier, OneCycle, Points, points
from lightmodels import RingDNN, Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.distributed import rank


class Counted(Classifier):
    """Accuracy as an exact pair and as a Metric object."""

    def __init__(self):
        super().__init__()
        self.accuracy = BinaryAccuracy()

    def shared_step(self, batch):
        x, y = batch
        logits = self(x)
        hits = logits.argmax(1) == y
        self.accuracy.update(logits.argmax(1), y)
        loss = F.cross_entropy(logits, y)
        sums = {"exact": (x.double().sum(), len(y)), "acc": (hits.sum(), len(y))}
        return {"loss": loss, **sums, "metric": self.accuracy}


class TimeFirst(Counted):
    """Takes batches ``(T, B, 2)`` from ``time_first``, and says how many rows there are."""

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x[0], y)) | {"size": len(y)}


def time_first(rows):
    x, y = default_collate(rows)
    return x.expand(3, -1, -1), y


def trainer(processes, **options):
    strategy = {"strategy": "ddp"} if processes > 1 else {}
    return Trainer(
        accelerator="cpu", devices=processes, logger=False, enable_checkpointing=False, **strategy, **options
    )


def ring(processes):
    """Three epochs of the ring classifier; no batch can be divided evenly."""
    pl.seed_everything(0, verbose=False)
    model = RingDNN()
    history = trainer(processes, max_epochs=3).fit(model, RingDataModule(num_rows=2003, test_rows=10, batch_size=101))
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    return {"history": list(history), "weights": weights}


def evaluate(processes):
    """Metrics and predictions of 1 to 25 rows, from a TensorLoader and from a DataLoader."""
    results = {}
    pl.seed_everything(0, verbose=False)
    model = Counted()
    models = {"time first": TimeFirst()}
    for rows in range(1, 26):
        print(f"{rows} rows", flush=True)
        data = points(rows)
        for kind, loader in (
            ("tensors", TensorLoader(*data, batch_size=4)),
            ("plain", DataLoader(TensorDataset(*data), batch_size=4)),
            ("time first", DataLoader(TensorDataset(*data), batch_size=4, collate_fn=time_first)),
        ):
            tested = trainer(processes).test(models.get(kind, model), loader, verbose=False)[0]
            results[f"{kind} {rows}"] = {"tested": tested}
            if kind == "tensors" or (kind == "plain" and rows > 1):  # Lightning's sampler needs a row per process
                results[f"{kind} {rows}"]["predicted"] = trainer(processes).predict(model, loader).tolist()
    return results


def three_epochs(processes, way):
    """History and weights of a model with dropout: by the Trainer, compiled or not, or by a Fabric loop."""
    pl.seed_everything(0, verbose=False)
    model, data = OneCycle(), Points(batch_size=25)
    if way != "fabric":
        pl.seed_everything(rank(), verbose=False)
        trainer(processes, max_epochs=3, compile=way == "compiled").fit(model, data)
    else:
        fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
        fabric.launch()
        pl.seed_everything(rank(), verbose=False)
        fabric_loop.train(model, data, 3, fabric)
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    names = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc")
    return {"history": [{name: row[name] for name in names} for row in model.history], "weights": weights}


def results(processes):
    """What is compared, as plain data."""
    names = ("fit", "fabric", "compiled") if processes > 1 else ("fit", "fabric")
    ways = {way: three_epochs(processes, way) for way in names}
    return {"ring": ring(processes), "evaluate": evaluate(processes)} | ways


def main():
    torch.set_num_threads(1)
    torch.compile = functools.partial(torch.compile, backend="eager")  # fast: generates no code
    found = json.dumps(results(2))
    Path(sys.argv[1], f"{torch.distributed.get_rank()}.json").write_text(found)


if __name__ == "__main__":
    main()
