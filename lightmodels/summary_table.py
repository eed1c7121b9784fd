"""What ``lightmodels.summary`` finds in a model, and the table that it prints."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MEGABYTE = 1024**2


@dataclass
class Layer:
    """A layer that was called: its place and kind, the shape of its output, and what it holds."""

    name: str
    shape: str
    parameters: int


@dataclass
class Summary:
    """What ``summary`` found; ``str()`` gives the table. Sizes are bytes, of one row of the batch."""

    model: str
    layers: list[Layer] = field(default_factory=list)
    trainable: int = 0
    frozen: int = 0
    input_bytes: float = 0.0
    forward_bytes: float = 0.0
    parameter_bytes: int = 0

    @property
    def parameters(self) -> int:
        """All parameters of the model, those shared by layers counted once."""
        return self.trainable + self.frozen

    def __repr__(self) -> str:
        return f"<Summary of {self.model}: {self.parameters:,} parameters>"  # the table has been printed

    def __str__(self) -> str:
        rows = [(layer.name, layer.shape, f"{layer.parameters:,}") for layer in self.layers]
        uncalled = self.parameters - sum(layer.parameters for layer in self.layers)
        rows += [("(not in a layer that was called)", "", f"{uncalled:,}")] if uncalled else []
        return "\n".join([*table(("layer", "output shape", "parameters"), rows), *self._totals()])

    def _totals(self) -> list[str]:
        megabytes = (("input", self.input_bytes), ("forward", self.forward_bytes))
        sizes = [f"{name} {size / MEGABYTE:.6f}" for name, size in megabytes]
        return [
            f"parameters: {self.parameters:,} ({self.trainable:,} trainable, {self.frozen:,} frozen)",
            f"MB: {', '.join(sizes)} (a row, all outputs), parameters {self.parameter_bytes / MEGABYTE:.6f}",
        ]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of aligned columns between rules; the last column is one of numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([*map(str.ljust, row[:-1], widths), row[-1].rjust(widths[-1])]) for row in [head, *rows]
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:], rule]
