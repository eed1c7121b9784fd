"""CompiledTrainStep: forward, backward and the optimizer's update, compiled as one graph."""

from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any

import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.func import functional_call, grad_and_value
from torch.utils._pytree import tree_flatten, tree_unflatten

from lightmodels.loops.compiled import functional_optimizers, graph_state
from lightmodels.loops.compiled.graph_state import GraphState, NotCompilableError, StepModule
from lightmodels.utils.batch import batch_size
from lightmodels.utils.step_errors import explain_errors


def compile_alone(function: Callable[..., Any], *, fullgraph: bool = False, **options: Any) -> Any:
    """``torch.compile`` with the random numbers of eager mode, and a limit of recompilations of its own.

    torch counts the graphs of a code object, over all models of a process, so this compiles a copy.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    copy = FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)
    options["fallback_random"] = True
    return torch.compile(copy, fullgraph=fullgraph, dynamic=False, options=options)


class CompiledTrainStep:
    """Training steps of a model on one device, as one graph.

    Two kinds of steps are left to the caller: the very first, which creates the optimizer's states, and an
    epoch's last if its batch has another size than the loader's. All decisions depend on the optimizer's
    state and the batch only, so that a resumed run makes the same ones. In a graph, parameters that a batch
    does not use have a gradient of zero.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self._model = trainer, trainer.lightning_module
        self._optimizer, self._device = trainer.optimizers[0], trainer.strategy.root_device
        self._functional: Any = functional_optimizers.for_optimizer(self._optimizer)
        # on a GPU, a CUDA graph replays all kernels of a step with one launch
        options = {"triton.cudagraphs": True} if self._device.type == "cuda" else {}
        self._graph = compile_alone(self._train, fullgraph=True, **options)
        self._module = StepModule(self._model)
        self._mixed = isinstance(trainer.precision_plugin, MixedPrecision)
        self._hooks = graph_state.count_hooks(self._model)
        self._state: GraphState | None = None
        self._rates: list[list[Tensor]] = []

    def begin_epoch(self) -> str | None:
        """Checks again what makes a graph impossible; None if nothing does."""
        self._state = None
        reason = graph_state.why_not(self.trainer, self._functional)
        if reason is None and graph_state.count_hooks(self._model) != self._hooks:
            return "hooks on modules that were added during training"
        return reason

    def run(self, batches: list[Any], rates: list[list[float]]) -> list[Tensor] | None:
        """Trains on batches with these learning rates, one per step and group of the optimizer.

        Returns the loss before each step, of shape ``()``, or None if the steps are left to the caller.
        Raises NotCompilableError or torch.compile's errors, if there is no graph; no tensor has changed then.
        """
        if self._is_remainder(batches[-1]):
            return None
        if self._state is None or self._state.signature != graph_state.signature(self._optimizer):
            names = self._functional.state_names
            self._state, self._rates = graph_state.collect_state(self.trainer, self._module, names), []
        if self._state is None:
            return None
        groups, buffers, rate_tensors = self._state.groups, self._state.buffers, self._as_tensors(rates)
        names = [name for name in self._optimizer.defaults if name != "lr"]  # others are constants in a graph
        options = [{name: group[name] for name in names} for group in self._optimizer.param_groups]
        if self._device.type == "cuda":  # the graph may overwrite the outputs of its last replay
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            steps = self._graph(groups, buffers, options, rate_tensors, batches)
        except (RuntimeError, IndexError) as error:
            if "saved tensor hooks" in str(error):  # which torch cannot differentiate in a function
                raise NotCompilableError("activation checkpointing") from error
            if not isinstance(error, TorchDynamoException):
                with torch.no_grad():  # eagerly, which raises the error again, with an explanation
                    for batch in batches:
                        explain_errors(self._model.shared_step, batch)
            raise
        for values, batch in zip(steps, batches, strict=True):
            self._model.log_batch(values, batch)
        return [values["loss"].clone() for values in steps]  # a graph writes to the same memory again

    def _is_remainder(self, batch: Any) -> bool:
        """Whether a batch is the last of its epoch and has another size than the loader's."""
        size = getattr(self.trainer.train_dataloader, "batch_size", None)
        with suppress(ValueError):  # a batch whose size is unknown
            return self.trainer.is_last_batch and isinstance(size, int) and batch_size(batch) != size
        return False

    def _as_tensors(self, rates: list[list[float]]) -> list[list[Tensor]]:
        """Learning rates as tensors, the same ones each time, as CUDA graphs need."""
        while len(self._rates) < len(rates):
            self._rates.append([torch.zeros((), device=self._device) for _ in rates[0]])
            graph_state.mark_static(self._rates[-1])
        for tensors, values in zip(self._rates, rates, strict=False):
            for tensor, value in zip(tensors, values, strict=True):
                tensor.fill_(value)
        return self._rates[: len(rates)]

    def _train(self, groups: Any, buffers: Any, options: Any, rates: Any, batches: list[Any]) -> list[Any]:
        """The compiled function: changes parameters, states and buffers; returns ``shared_step``'s values."""
        steps = []
        for batch, step_rates in zip(batches, rates, strict=True):
            grads, values = self._grads_and_values([parameters for parameters, _ in groups], buffers, batch)
            rows = zip(groups, grads, step_rates, options, strict=True)
            for (parameters, states), group_grads, rate, group_options in rows:
                ordered = [group_grads[name] for name in parameters]
                self._functional.update([*parameters.values()], ordered, states, rate, group_options)
            steps.append(values)
        return steps

    def _grads_and_values(self, groups: Any, buffers: dict[str, Tensor], batch: Any) -> tuple[Any, Any]:
        """Gradients, and copies of the values that ``shared_step`` returns; updates the buffers."""
        constants: list[Any] = []  # grad_and_value returns nothing but tensors

        def loss_and_values(groups: list[dict[str, Tensor]], before: dict[str, Tensor]) -> tuple[Tensor, Any]:
            used = {name: tensor for part in (before, *groups) for name, tensor in part.items()}
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                values = functional_call(self._module, used, (batch,))
            leaves, structure = tree_flatten(values)
            constants.extend([structure, [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]])
            changed = {name: used[name] for name in before if used[name] is not before[name]}
            return values["loss"], ([leaf.clone() for leaf in leaves if isinstance(leaf, Tensor)], changed)

        grads, (_, (copies, changed)) = grad_and_value(loss_and_values, has_aux=True)(groups, buffers)
        for name, value in changed.items():
            buffers[name].copy_(value)
        (structure, leaves), tensors = constants, iter(copies)
        return grads, tree_unflatten([next(tensors) if leaf is None else leaf for leaf in leaves], structure)
