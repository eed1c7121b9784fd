"""Keras on JAX as its docs write it: ``compile`` with ``steps_per_execution``, and ``fit`` over arrays.

Its Nadam has a decay of the momentum of its own, 0.96 ** step, where PyTorch's has 0.96 ** (step * 0.004).
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # it is read as Keras is imported

from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import keras
from keras import losses, metrics, ops, optimizers

from benchmarks.keras_net import arrays, model_of
from benchmarks.plain import Plain

CLASSES = {"Adam": optimizers.Adam, "AdamW": optimizers.AdamW, "NAdam": optimizers.Nadam}


class Rates(optimizers.schedules.LearningRateSchedule):
    """The learning rate of each step."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = ops.convert_to_tensor(rates, dtype="float32")

    def __call__(self, step: Any) -> Any:
        return ops.take(self.rates, ops.cast(step, "int32"))


class Marks(keras.callbacks.Callback):
    """Notes when each epoch begins and the last one ends."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.marks.append(perf_counter())

    def on_train_end(self, logs: Any = None) -> None:
        self.marks.append(perf_counter())


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    jax.config.update("jax_default_device", jax.devices(plain.device.type)[0])
    keras.utils.set_random_seed(plain.seed)
    model, marks = model_of(plain), Marks()
    loss, scores = MEASURES[plain.task](plain)
    model.compile(optimizer(plain), loss, metrics=scores, steps_per_execution=plain.steps)
    history = model.fit(
        *arrays(plain.train),
        batch_size=plain.batch_size,
        epochs=epochs,
        validation_data=arrays(plain.val),
        callbacks=[marks],
    ).history
    return marks.marks, float(history["val_plain_loss" if plain.smoothing else "val_loss"][-1])


def optimizer(plain: Plain) -> optimizers.Optimizer:
    options, (beta_1, beta_2) = plain.options, plain.options["betas"]
    decay = {"weight_decay": options["weight_decay"]} if options["weight_decay"] else {}
    made = CLASSES[plain.optimizer.__name__]
    return made(Rates(plain.rates), beta_1=beta_1, beta_2=beta_2, epsilon=options["eps"], **decay)


def hits_of_two(y: Any, outputs: Any) -> Any:
    return ops.equal(outputs > 0, y > 0.5)


def smoothed(plain: Plain) -> Callable[[Any, Any], Any]:
    """The cross-entropy with smoothed labels, which Keras also gives in validation."""

    def loss(y: Any, outputs: Any) -> Any:
        labels = ops.one_hot(ops.reshape(y, (-1,)), outputs.shape[-1])
        return losses.categorical_crossentropy(labels, outputs, True, plain.smoothing)

    return loss


def of_reuters(plain: Plain) -> tuple[Any, list[Any]]:
    """With the loss without smoothing as a score."""
    exact = metrics.SparseCategoricalCrossentropy("plain_loss", from_logits=True)
    top5 = metrics.SparseTopKCategoricalAccuracy(5, name="top5_acc")
    return smoothed(plain), [exact, metrics.SparseCategoricalAccuracy("acc"), top5]


MEASURES: dict[str, Callable[[Plain], tuple[Any, list[Any]]]] = {  # task -> loss and scores
    "linear": lambda plain: (losses.MeanSquaredError(), ["mae", "mape"]),
    "ring": lambda plain: (losses.BinaryCrossentropy(from_logits=True), [hits_of_two]),
    "mnist": lambda plain: (losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]),
    "reuters": of_reuters,
}
