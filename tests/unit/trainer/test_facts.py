"""What a Trainer shows in a notebook before and after training."""

import pytorch_lightning as pl
from helpers.models import Classifier, points

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader


def test_a_new_trainer_shows_its_device_and_limit():
    assert Trainer(max_epochs=3, gpus=0)._repr_html_().splitlines() == [
        "<table>",
        "<tr><th>devices</th><td>1 x cpu, 32-true</td></tr>",
        "<tr><th>epochs</th><td>0 of 3</td></tr>",
        "</table>",
    ]
    assert "<td>0</td>" in Trainer(gpus=0)._repr_html_()


def test_after_training_it_shows_model_epochs_and_run_directory():
    pl.seed_everything(0, verbose=False)
    trainer, model = Trainer(max_epochs=2, gpus=0, run_dir="a<b", logger=False), Classifier()
    history = trainer.fit(model, TensorLoader(*points(20), batch_size=10), TensorLoader(*points(9), batch_size=9))
    best = min(history, key=lambda row: row["val_loss"])
    shown = trainer._repr_html_()
    parameters = sum(each.numel() for each in model.parameters())
    for line in (
        f"<tr><th>model</th><td>Classifier, {parameters:,} parameters</td></tr>",
        "<tr><th>epochs</th><td>2 of 2</td></tr>",
        f"<tr><th>best epoch</th><td>{best['epoch']:.0f}: loss {best['val_loss']:.4g}</td></tr>",
        "<tr><th>run directory</th><td>a&lt;b</td></tr>",
    ):
        assert line in shown
    trainer.test(model, TensorLoader(*points(9), batch_size=9), verbose=False)
    assert trainer._repr_html_() == shown


def test_without_checkpoints_it_shows_no_best_epoch_and_data_modules_by_their_rows():
    trainer = Trainer(max_epochs=1, gpus=0, logger=False, enable_checkpointing=False)
    trainer.fit(Classifier(), train_data=points(20), validation_split=0.25)
    assert "best" not in trainer._repr_html_()
    assert "15 train, 5 val" in trainer._repr_html_()
