"""StepCompiler: compiles training steps with torch.compile, as far as a model allows."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit, TorchDynamoException

from lightmodels.loops.compiled.graph_state import NotCompilableError
from lightmodels.loops.compiled.train_step_graph import CompiledTrainStep, compile_alone
from lightmodels.utils.console import current_verbosity

COMPILE_ERRORS = (TorchDynamoException, FailOnRecompileLimitHit, NotCompilableError)
MAX_REASON_LENGTH = 120  # characters


class StepCompiler:
    """Compiles whole training steps, else only the model's ``forward`` in training, else nothing.

    Parts that cannot be compiled are reported and run eagerly.

    Attributes:
        reason: why whole steps are not compiled, once that is known; kept in checkpoints.
        train_step: compiles whole steps; None if only ``forward`` or nothing is compiled.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.train_step: CompiledTrainStep | None = None
        self._forward: Any = None  # the compiled one, if only that is compiled
        self._optimizer: Any = None  # the one that these are for

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled functions, which cannot be pickled."""
        return vars(StepCompiler()) | {"reason": self.reason}

    def begin_epoch(self, trainer: Trainer, why_not: str | None) -> None:
        """Prepares for an epoch; ``why_not`` is what keeps its steps from the fast path, if anything."""
        optimizer = trainer.optimizers[0] if trainer.optimizers else trainer
        is_new, why_not = self._optimizer is not optimizer, why_not or self.reason
        if is_new:
            self._optimizer, self._forward = optimizer, None
            self.train_step = None if why_not else CompiledTrainStep(trainer)
        if self.train_step:
            why_not = why_not or self.train_step.begin_epoch()
        if why_not and (is_new or self.train_step):
            self._compile_forward(trainer, why_not)

    def run_steps(self, batches: list[Any], rates: list[list[float]]) -> list[Tensor] | None:
        """``CompiledTrainStep.run``, if whole steps are compiled; None to leave the steps to the caller."""
        if self.train_step is None:
            return None
        trainer = self.train_step.trainer
        try:
            return self.train_step.run(batches, rates)
        except COMPILE_ERRORS as error:
            torch._C._autograd._saved_tensors_hooks_enable()  # which torch leaves disabled after an error
            if isinstance(error, BackendCompilerFailed):
                self.train_step, self.reason = None, _describe(error)
                _print(trainer, f"torch.compile failed, training runs eagerly: {self.reason}")
            else:
                self._compile_forward(trainer, _describe(error))
        return None

    def _compile_forward(self, trainer: Trainer, reason: str) -> None:
        self.train_step, self.reason = None, reason
        eager = trainer.lightning_module.forward
        compiled = compile_alone(eager)
        _print(trainer, f"only the model's forward is compiled, not the whole training step: {reason}")

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._forward is None:
                return eager(*args, **kwargs)
            try:
                return compiled(*args, **kwargs)
            except COMPILE_ERRORS as error:
                self._forward = None
                _print(trainer, f"torch.compile failed, training runs eagerly: {_describe(error)}")
                return eager(*args, **kwargs)

        self._forward = forward

    def call(self, trainer: Trainer, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function in which ``model(x)`` is the compiled ``forward``, if that is what is compiled."""
        model: Any = trainer.lightning_module
        if self._forward is None:
            return function(*args, **kwargs)
        own = vars(model).get("forward")
        model.forward = self._forward
        try:
            return function(*args, **kwargs)
        finally:
            del model.forward
            if own is not None:
                model.forward = own


def _print(trainer: Trainer, line: str) -> None:
    if trainer.is_global_zero and current_verbosity() != "quiet":
        print(line, flush=True)


def _describe(error: Exception) -> str:
    """The first line of an error, of the compiler's own where torch has wrapped that."""
    if isinstance(error, FailOnRecompileLimitHit):
        return "too many kinds of batches or options, each of which needs a graph of its own"
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, Exception):
        return f"{type(inner).__name__}: {_describe(inner)}"
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= MAX_REASON_LENGTH else f"{line[:MAX_REASON_LENGTH]} …"
