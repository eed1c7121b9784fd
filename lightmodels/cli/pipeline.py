"""A trained model with what comes before and after it: raw inputs to probabilities, or to values."""

from typing import Any

import torch
from torch import Tensor, nn

from lightmodels import LightModel


class Pipeline(nn.Module):
    """Raw inputs to probabilities of the classes, ``(B, classes)``, or to values, ``(B, 1)``.

    Raw inputs are, by the kind of data: ``table`` float32 rows ``(B, features)``; ``image`` uint8 pixels
    ``(B, height, width)``; ``text`` int64 tokens ``(B, max_length)``, of which those that are outside the
    vocabulary are taken for unknown. There are values where the data has no classes.

    Args:
        model: the trained model; of two classes it may give one logit, that of the second.
        info: the model's ``data_info``.
    """

    def __init__(self, model: LightModel, info: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.info = model.eval(), info

    def forward(self, raw: Tensor) -> Tensor:
        return self.read_out(self.model(self.prepare(raw)))

    def prepare(self, raw: Tensor) -> Tensor:
        """Raw inputs as the model's."""
        if self.info["kind"] == "image":
            return raw.unsqueeze(1).float() / self.info["scale"]  # (B, 1, height, width)
        if self.info["kind"] == "text":
            known = (raw >= 0) & (raw < self.info["num_words"])
            return torch.where(known, raw, self.info["tokens"]["unknown"])
        return raw

    def read_out(self, outputs: Tensor) -> Tensor:
        """The model's outputs as probabilities, if there are classes."""
        if "classes" not in self.info:
            return outputs
        if outputs.shape[1] == 1:
            return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)  # (B, 2)
        return torch.softmax(outputs, dim=1)  # (B, classes)
