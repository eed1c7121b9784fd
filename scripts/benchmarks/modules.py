"""Net and loss of a ``Plain`` as modules, for libraries that ask for both."""

from torch import Tensor, nn

from benchmarks.plain import Plain


class Module(nn.Module):
    """The net, which masks words while it trains."""

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.plain, self.net = plain, plain.net

    def forward(self, x: Tensor) -> Tensor:
        return self.plain.outputs(x)


class Criterion(nn.Module):
    """The task's loss, with label smoothing while the net trains."""

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.plain.loss(outputs, y)
