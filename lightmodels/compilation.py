"""Compilation: training steps made by torch.compile, as far as a model allows."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit, TorchDynamoException

from lightmodels import messages
from lightmodels.whole_step import NotOneGraphError, WholeStep, own_graphs

Result = TypeVar("Result")
CANNOT = (TorchDynamoException, FailOnRecompileLimitHit, NotOneGraphError)


class Compilation:
    """Whole steps as one graph where that can be, else the model's ``forward``, else nothing.

    What cannot be compiled is said in one line, and trained as it is. Only training is compiled.
    """

    def __init__(self) -> None:
        self._whole: WholeStep | None = None
        self._trained: Any = None  # the optimizer that all this is for
        self._forward: Any = None  # the compiled one, where the net alone is compiled

    def begin_epoch(self, trainer: Trainer, obstacle: str | None) -> None:
        """Gets ready; ``obstacle`` is what keeps whole steps from being made at all, if anything."""
        optimizer = trainer.optimizers[0] if trainer.optimizers else trainer
        if self._trained is not optimizer:
            self._trained, self._forward = optimizer, None
            self._whole = None if obstacle else WholeStep(trainer)
            obstacle = self._whole.obstacle() if self._whole else obstacle
            if obstacle:
                self._compile_net(trainer, obstacle)
        if self._whole:
            self._whole.begin_epoch()

    def is_ready(self) -> bool:
        """Whether the next steps can be one graph, as far as it is known."""
        return bool(self._attempt(WholeStep.is_ready))

    def make(self, batches: list[Any], rates: list[list[float]] | None = None) -> list[Tensor] | None:
        """Makes the steps of some batches as one graph; their losses. None: they are left to the caller.

        Args:
            batches: where the model is.
            rates: of each step, each group's; by default, as they are now.
        """
        return self._attempt(lambda whole: whole.make(batches, rates))

    def _attempt(self, what: Callable[[WholeStep], Result]) -> Result | None:
        """Does something with whole steps, if they are compiled; settles for less if that cannot be."""
        if self._whole is None:
            return None
        trainer = self._whole.trainer
        try:
            return what(self._whole)
        except BackendCompilerFailed as error:
            self._whole = None
            _say(trainer, f"not compiled: {_reason(error)}")
        except CANNOT as error:
            self._compile_net(trainer, _reason(error))
        return None

    def _compile_net(self, trainer: Trainer, reason: str) -> None:
        self._whole = None
        forward = trainer.lightning_module.forward
        self._forward = torch.compile(forward, dynamic=False, **own_graphs())
        _say(trainer, f"the net alone is compiled, not the whole step: {reason}")

    def of_net(self, model: LightningModule) -> AbstractContextManager[None]:
        """Inside, ``model(x)`` is the compiled ``forward``, if that is what is compiled."""
        return nullcontext() if self._forward is None else _calling(model, self._forward)


@contextmanager
def _calling(model: Any, forward: Any) -> Iterator[None]:
    before = vars(model).get("forward")
    model.forward = forward
    try:
        yield
    finally:
        if before is None:
            del model.forward
        else:
            model.forward = before


def _say(trainer: Trainer, line: str) -> None:
    if trainer.is_global_zero and messages.level() != "quiet":
        print(line, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, FailOnRecompileLimitHit):
        return "batches or options of more kinds than it makes graphs for"
    inner = getattr(error, "inner_exception", None)  # of the compiler proper
    if isinstance(inner, Exception):
        return f"{type(inner).__name__}: {_reason(inner)}"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
