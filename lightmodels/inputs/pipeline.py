"""A trained model with its preprocessing and postprocessing: raw inputs to probabilities or values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightmodels.inputs.kinds import inputs_for

BATCH_SIZE = 256


class Predictions(NamedTuple):
    """What a trained model says of raw data.

    Attributes:
        outputs: probabilities ``(N, classes)``, or values ``(N, 1)`` in a regression.
        classes: the classes' names; none in a regression.
        multi_label: whether a row can be of several classes, or of none.
    """

    outputs: Tensor
    classes: Sequence[str] = ()
    multi_label: bool = False

    @property
    def names(self) -> list[Any]:
        """The most probable class of each row; with ``multi_label``, a list of those above one half."""
        if self.multi_label:
            return [[self.classes[i] for i in (row > 0.5).nonzero().flatten().tolist()] for row in self.outputs]
        return [self.classes[i] for i in self.outputs.argmax(1).tolist()] if self.classes else []


class Pipeline(nn.Module):
    """Maps raw inputs to class probabilities ``(B, classes)``, or to values ``(B, 1)`` in a regression.

    Raw inputs depend on the kind of data, see ``lightmodels.inputs``. ``info`` is the model's ``data_info``; with two
    classes, the model may give one logit, that of the second class.
    """

    def __init__(self, model: nn.Module, info: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.info, self.inputs = model.eval(), info, inputs_for(info)

    def forward(self, raw: Tensor) -> Tensor:
        return self.postprocess(self.model(self.inputs.preprocess(raw)))

    def postprocess(self, outputs: Tensor) -> Tensor:
        """The model's outputs as probabilities, if there are classes."""
        if "classes" not in self.info:
            return outputs
        if self.info.get("multi_label"):
            return torch.sigmoid(outputs)  # (B, classes)
        if outputs.shape[1] == 1:
            return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1)  # (B, 2)
        return torch.softmax(outputs, dim=1)  # (B, classes)

    @torch.inference_mode()
    def predict(self, raw: Tensor) -> Predictions:
        """The predictions for any number of raw rows, on the model's device."""
        device = next((parameter.device for parameter in self.parameters()), raw.device)
        outputs = torch.cat([self(batch.to(device)).cpu() for batch in torch.split(raw, BATCH_SIZE)])
        return Predictions(outputs, self.info.get("classes", ()), bool(self.info.get("multi_label")))
