"""A convolutional net for handwritten digits; 53,994 parameters."""

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels.core.embedding import Embedding
from lightmodels.core.light_model import LightModel
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.plots import defaults
from lightmodels.utils import argument_checks


class MNISTCNN(LightModel):
    """Two convolutions, global max pooling and two dense layers; cross-entropy and accuracy.

    A batch is ``(x, y)``: x of shape ``(B, 1, 28, 28)`` in 0..1, y of shape ``(B,)`` with the
    classes. ``forward`` gives logits of shape ``(B, num_classes)``.

    Args:
        num_classes: classes.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's decoupled weight decay.
        dropout: probability of dropping a channel after the second pooling during training.

    Raises:
        ValueError: a size below 1, or a rate, weight decay or probability out of range.
    """

    max_epochs = 10

    def __init__(
        self, num_classes: int = 10, lr: float = 0.01, weight_decay: float = 0.01, dropout: float = 0.1
    ) -> None:
        argument_checks.positive(num_classes=num_classes, lr=lr)
        argument_checks.not_negative(weight_decay=weight_decay)
        argument_checks.probability(dropout=dropout)
        super().__init__(
            nn.Sequential(
                nn.Conv2d(1, 32, kernel_size=3),  # (B, 32, 26, 26)
                nn.MaxPool2d(2),  # (B, 32, 13, 13)
                nn.Conv2d(32, 64, kernel_size=5),  # (B, 64, 9, 9)
                nn.MaxPool2d(2),  # (B, 64, 4, 4)
                nn.Dropout2d(dropout),
                nn.AdaptiveMaxPool2d(1),  # (B, 64, 1, 1)
                nn.Flatten(),  # (B, 64)
                nn.Linear(64, 32),  # (B, 32)
                nn.ReLU(),
                nn.Linear(32, num_classes),  # (B, num_classes)
            ).to(memory_format=torch.channels_last)  # 1.5 times faster on CPUs, with the same parameters
        )
        self.save_hyperparameters()

    def shared_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, MetricValue]:
        x, y = batch
        logits = self(x)
        correct = logits.argmax(dim=1) == y
        return {"loss": F.cross_entropy(logits, y), "acc": (correct.sum(), len(x))}

    def embeddings(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> dict[str, Embedding]:
        """The 32 units before the logits, with the digits themselves."""
        x, y = batch
        layers = nn.Sequential(*self.get_submodule("net").children())[:-1]
        hidden = torch.cat([layers(part) for part in torch.split(x, 256)])  # (N, 32)
        names = defaults.class_names(self, outputs.shape[1])
        labels = {"true": y.tolist(), "predicted": outputs.argmax(1).tolist()}
        named = {kind: [names[number] for number in numbers] for kind, numbers in labels.items()}
        return {"last_hidden_layer": Embedding(hidden, named, images=x)}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=hparams["lr"], weight_decay=hparams["weight_decay"], **fused_kwargs(self)
        )
        return one_cycle(self, optimizer)
