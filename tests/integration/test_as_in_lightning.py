"""What Lightning's users expect of a Trainer and its callbacks."""

import os
import signal

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import loaders
from helpers.models import Classifier, GetsWorse

from lightmodels import Trainer

OPTIONS = {"gpus": 0, "logger": False, "figures": False}


def test_the_checkpoint_callback_has_the_attributes_of_lightnings():
    model, trainer = GetsWorse(), Trainer(max_epochs=3, run_dir="run", **OPTIONS)
    callback = trainer.checkpoint_callback
    assert (callback.best_model_score, callback.best_k_models, callback.current_score) == (None, {}, None)
    trainer.fit(model, **loaders())
    losses = model.history["val_loss"]
    assert callback.best_model_score.item() == pytest.approx(min(losses))
    assert callback.current_score.item() == pytest.approx(losses[-1])
    assert {path: float(score) for path, score in callback.best_k_models.items()} == {
        callback.best_model_path: pytest.approx(min(losses))
    }


def test_a_handler_of_the_user_is_called_once_the_state_is_saved(monkeypatch):
    seen = []

    def mine(signum, frame):
        seen.append((signum, torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"]))

    class Stops(Classifier):
        def on_train_batch_end(self, *_):
            if self.trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(SystemExit):
            Trainer(max_epochs=2, run_dir="run", **OPTIONS).fit(Stops(), **loaders())
        assert seen == [(signal.SIGTERM, 4)]  # after the step that follows, as callbacks come before the model
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "callback",
    [
        pl.callbacks.GradientAccumulationScheduler({1: 2}),
        pl.callbacks.StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1),
    ],
)
def test_callbacks_that_change_steps_later_are_refused_at_the_start(callback):
    model = Classifier()
    trainer = Trainer(max_epochs=3, run_dir="run", steps_per_execution=2, callbacks=[callback], **OPTIONS)
    with pytest.raises(ValueError, match=f"steps_per_execution=2 is not supported with {type(callback).__name__}"):
        trainer.fit(model, **loaders())
    assert not model.history
