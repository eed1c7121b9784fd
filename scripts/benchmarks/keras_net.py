"""A ``Plain``'s net as a Keras model with the same weights, channels last."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from keras import layers, ops
from torch import Tensor, nn

from benchmarks.plain import UNKNOWN, Plain, Transposed

MADE: dict[type[nn.Module], Callable[[Any], layers.Layer]] = {
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
    Transposed: lambda layer: layers.Identity(),  # channels are last as it is
}


class Masked(layers.Layer):
    """Replaces words by "unknown" at random, while training."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        masked = keras.random.uniform(ops.shape(x), seed=self.seed_generator) < self.probability
        return ops.where(ops.logical_and(masked, x > UNKNOWN), UNKNOWN, x)


def model_of(plain: Plain) -> keras.Model:
    """The model, with the weights that the net has now."""
    x, _ = arrays(plain.train)
    masked = [Masked(plain.masking)] if plain.masking else []
    made = [MADE[type(layer)](layer) for layer in plain.net.children()]
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name), *masked, *made])
    model.set_weights(weights(plain.net))
    return model


def arrays(rows: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    """Inputs and targets: pictures channels last, whole numbers in 32 bits as JAX has them."""
    x, y = (part.to(torch.int32) if part.dtype == torch.int64 else part for part in rows)
    return np.ascontiguousarray(x.movedim(1, -1).numpy() if x.dim() == 4 else x.numpy()), y.numpy()


def weights(net: nn.Module) -> list[np.ndarray]:
    """Of all layers, in the order and layout that Keras has them."""
    found, channels = [], 1
    for layer in net.children():
        if isinstance(layer, nn.Embedding):
            found += [layer.weight]
        elif isinstance(layer, nn.Linear):
            found += [kernel(flattened(layer.weight, channels)), layer.bias]
            channels = 1
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            found += [kernel(layer.weight), layer.bias]
            channels = layer.out_channels
    return [part.detach().numpy() for part in found]


def flattened(weight: Tensor, channels: int) -> Tensor:
    """Columns for inputs that were flattened with the channels last, not first."""
    return weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)


def kernel(weight: Tensor) -> Tensor:
    """``(out, in, ...)`` as ``(..., in, out)``."""
    return weight.permute(*range(2, weight.dim()), 1, 0)
