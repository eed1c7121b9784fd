"""A trained model with its preprocessing and postprocessing: raw inputs to probabilities or values."""

from typing import Any

import torch
from torch import Tensor, nn

from lightmodels import LightModel


class Pipeline(nn.Module):
    """Maps raw inputs to class probabilities ``(B, classes)``, or to values ``(B, 1)`` in a regression.

    Raw inputs depend on the kind of data: ``table`` float32 rows ``(B, features)``; ``image`` uint8 pixels
    ``(B, height, width)``; ``text`` int64 tokens ``(B, max_length)``, where tokens outside the vocabulary
    count as unknown. ``info`` is the model's ``data_info``; with two classes, the model may give one logit,
    that of the second class.
    """

    def __init__(self, model: LightModel, info: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.info = model.eval(), info

    def forward(self, raw: Tensor) -> Tensor:
        return self.postprocess(self.model(self.preprocess(raw)))

    def preprocess(self, raw: Tensor) -> Tensor:
        """Raw inputs to inputs of the model."""
        if self.info["kind"] == "image":
            return torch.div(raw.unsqueeze(1), self.info["scale"])  # (B, 1, height, width)
        if self.info["kind"] == "text":
            known = (raw >= 0) & (raw < self.info["num_words"])
            return torch.where(known, raw, self.info["tokens"]["unknown"])
        return raw

    def postprocess(self, outputs: Tensor) -> Tensor:
        """The model's outputs to probabilities, if there are classes."""
        if "classes" not in self.info:
            return outputs
        if outputs.shape[1] == 1:
            return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)  # (B, 2)
        return torch.softmax(outputs, dim=1)  # (B, classes)
