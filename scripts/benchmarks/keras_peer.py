"""Keras on JAX as its docs write it: ``compile`` with ``steps_per_execution``, and ``fit`` over arrays.

It has no metrics, which favors it; its Nadam decays the momentum by ``0.96 ** step``, that of PyTorch slower.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it when it is imported

from typing import Any

import jax
import keras
import numpy as np
import torch
from keras import layers, losses, ops, optimizers
from torch import Tensor, nn

from benchmarks.plain import UNKNOWN_TOKEN, ChannelsFirst, Marks, MaskWords, PlainTask


def train_keras(task: PlainTask) -> tuple[Marks, float]:
    jax.config.update("jax_default_device", jax.devices(task.device)[0])
    keras.utils.set_random_seed(task.seed)
    marks = Marks()
    times = keras.callbacks.LambdaCallback(on_epoch_begin=marks, on_train_end=marks)
    model, (loss, scores) = make_model(task), loss_and_metrics(task)
    steps = (len(task.learning_rates) - 1) // task.epochs
    model.compile(make_optimizer(task), loss, metrics=scores, steps_per_execution=steps)
    (x, y), val = to_arrays(task, task.train), to_arrays(task, task.val)
    history = model.fit(x, y, task.batch_size, task.epochs, callbacks=[times], validation_data=val).history
    return marks, float(history["val_categorical_crossentropy" if scores else "val_loss"][-1])


def make_optimizer(task: PlainTask) -> optimizers.Optimizer:
    class LearningRates(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return ops.take(rates, ops.cast(step, "int32"))

    rates = ops.convert_to_tensor(task.learning_rates, dtype="float32")
    options, (beta_1, beta_2) = task.optimizer.keywords, task.optimizer.keywords["betas"]
    optimizer = getattr(optimizers, task.optimizer.func.__name__.replace("NAdam", "Nadam"))
    decay = {"weight_decay": options["weight_decay"] or None}
    return optimizer(LearningRates(), beta_1=beta_1, beta_2=beta_2, epsilon=options["eps"], **decay)


def loss_and_metrics(task: PlainTask) -> tuple[losses.Loss, list[losses.Loss]]:
    if task.name == "linear":
        return losses.MeanSquaredError(), []
    if task.name == "ring":
        return losses.BinaryCrossentropy(from_logits=True), []
    loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=task.label_smoothing)
    return loss, [losses.CategoricalCrossentropy(from_logits=True)]  # Keras also smooths in validation


class KerasMaskWords(layers.Layer):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability, self.seed_generator = probability, keras.random.SeedGenerator()

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        masked = keras.random.uniform(ops.shape(x), seed=self.seed_generator) < self.probability
        return ops.where(ops.logical_and(masked, x > UNKNOWN_TOKEN), UNKNOWN_TOKEN, x)


LAYERS = {
    nn.Linear: lambda layer: layers.Dense(layer.out_features),
    nn.Conv1d: lambda layer: layers.Conv1D(layer.out_channels, layer.kernel_size),
    nn.Conv2d: lambda layer: layers.Conv2D(layer.out_channels, layer.kernel_size),
    nn.Embedding: lambda layer: layers.Embedding(layer.num_embeddings, layer.embedding_dim),
    nn.ReLU: lambda layer: layers.ReLU(),
    nn.MaxPool1d: lambda layer: layers.MaxPooling1D(layer.kernel_size),
    nn.MaxPool2d: lambda layer: layers.MaxPooling2D(layer.kernel_size),
    nn.AdaptiveMaxPool2d: lambda layer: layers.GlobalMaxPooling2D(),
    nn.Dropout2d: lambda layer: layers.SpatialDropout2D(layer.p),
    nn.Flatten: lambda layer: layers.Flatten(),
    MaskWords: lambda layer: KerasMaskWords(layer.probability),
    ChannelsFirst: lambda layer: layers.Identity(),  # Keras wants the channels last, as they are
}


def make_model(task: PlainTask) -> keras.Model:
    """The net as a Keras model, channels last, with the same weights, whose layout is ``(..., in, out)``."""
    x, _ = to_arrays(task, task.train)
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name)])
    weights, channels = [], 1
    for layer in task.net.children():
        model.add(LAYERS[type(layer)](layer))
        if isinstance(layer, nn.Embedding):
            weights.append(layer.weight)
        elif isinstance(layer, nn.Linear):  # behind Flatten, which has the channels last
            weights += [layer.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1).T, layer.bias]
            channels = 1
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            weights += [layer.weight.permute(*range(2, layer.weight.dim()), 1, 0), layer.bias]
            channels = layer.out_channels
    model.set_weights([weight.detach().numpy() for weight in weights])
    return model


def to_arrays(task: PlainTask, split: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    """Inputs and targets: images channels last, words in 32 bits as JAX has them, classes one-hot."""
    x, y = split
    x = x.int() if x.dtype == torch.int64 else x.movedim(1, -1) if x.dim() == 4 else x
    y = y if y.is_floating_point() else nn.functional.one_hot(y, task.net[-1].out_features).float()
    return np.ascontiguousarray(x.numpy()), y.numpy()
