"""StepCompiler: training steps made by torch.compile, as far as a model allows."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit, TorchDynamoException

from lightmodels.loops.compiled.graph_state import NotCompilableError
from lightmodels.loops.compiled.train_step_graph import EAGER_RANDOM, CompiledTrainStep, isolate_option
from lightmodels.utils import console

Result = TypeVar("Result")
COMPILE_ERRORS = (TorchDynamoException, FailOnRecompileLimitHit, NotCompilableError)
MAX_REASON_LENGTH = 120  # characters of a reason


class StepCompiler:
    """Whole steps as one graph where that can be, else the model's ``forward``, else nothing.

    What cannot be compiled is said in one line, and trained as it is. Only training is compiled.

    Attributes:
        reason: why whole steps are not compiled, once that is known; a resumed training goes on with it.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._whole: CompiledTrainStep | None = None
        self._trained: Any = None  # the optimizer that all this is for
        self._forward: Any = None  # the compiled one, where the net alone is compiled

    def __getstate__(self) -> dict[str, Any]:
        """Without what is compiled, which is made anew."""
        return {"reason": self.reason, "_whole": None, "_trained": None, "_forward": None}

    def begin_epoch(self, trainer: Trainer, why_not: str | None) -> None:
        """Gets ready; ``why_not`` is what keeps whole steps from being made at all, if anything."""
        optimizer = trainer.optimizers[0] if trainer.optimizers else trainer
        why_not = why_not or self.reason
        if self._trained is not optimizer:
            self._trained, self._forward = optimizer, None
            self._whole = None if why_not else CompiledTrainStep(trainer)
            if why_not:
                self._compile_net(trainer, why_not)
        elif why_not and self._whole:
            self._compile_net(trainer, why_not)
        self._attempt(CompiledTrainStep.begin_epoch)

    def prepare(self) -> bool:
        """Whether the next steps can be one graph, as far as it is known; settles for less if not."""
        return bool(self._attempt(CompiledTrainStep.prepare))

    def make(self, batches: list[Any], rates: list[list[float]]) -> list[Tensor] | None:
        """Makes the steps of some batches as one graph; their losses. None: they are left to the caller.

        Args:
            batches: where the model is.
            rates: of each step, each group's.
        """
        return self._attempt(lambda whole: whole.make(batches, rates))

    def _attempt(self, what: Callable[[CompiledTrainStep], Result]) -> Result | None:
        """Does something with whole steps, if they are compiled; settles for less if that cannot be."""
        if self._whole is None:
            return None
        trainer = self._whole.trainer
        try:
            return what(self._whole)
        except BackendCompilerFailed as error:
            _allow_saved_tensor_hooks()
            self._whole, self.reason = None, _reason(error)
            _print(trainer, f"not compiled: {self.reason}")
        except COMPILE_ERRORS as error:
            _allow_saved_tensor_hooks()
            self._compile_net(trainer, _reason(error))
        return None

    def _compile_net(self, trainer: Trainer, reason: str) -> None:
        self._whole, self.reason = None, reason
        forward = trainer.lightning_module.forward
        compiled = torch.compile(forward, dynamic=False, options=EAGER_RANDOM, **isolate_option())
        _print(trainer, f"the net alone is compiled, not the whole step: {reason}")

        def attempt(*args: Any, **kwargs: Any) -> Any:
            if self._forward is None:
                return forward(*args, **kwargs)
            try:
                return compiled(*args, **kwargs)
            except COMPILE_ERRORS as error:
                self._forward = None
                _print(trainer, f"not compiled: {_reason(error)}")
                return forward(*args, **kwargs)

        self._forward = attempt

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


def _allow_saved_tensor_hooks() -> None:
    """Puts back what torch leaves behind when it fails inside a function that is differentiated."""
    torch._C._autograd._saved_tensors_hooks_enable()


def _print(trainer: Trainer, line: str) -> None:
    if trainer.is_global_zero and console.current_verbosity() != "quiet":
        print(line, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, FailOnRecompileLimitHit):
        return "batches or options of more kinds than it makes graphs for"
    inner = getattr(error, "inner_exception", None)  # of the compiler proper
    if isinstance(inner, Exception):
        return f"{type(inner).__name__}: {_reason(inner)}"
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= MAX_REASON_LENGTH else f"{line[:MAX_REASON_LENGTH]} …"
