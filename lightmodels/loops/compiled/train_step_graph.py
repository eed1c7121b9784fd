"""CompiledTrainStep: forward, backward and the optimizer's update as one graph that torch compiles."""

import inspect
from typing import Any

import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.func import functional_call, grad_and_value
from torch.utils._pytree import tree_flatten, tree_unflatten

from lightmodels.loops.compiled import cuda_graphs, functional_optimizers, graph_state
from lightmodels.loops.compiled.graph_state import GraphState, Group, NotCompilableError, StepModule
from lightmodels.utils.batch import batch_size
from lightmodels.utils.step_errors import explain_errors

EAGER_RANDOM: dict[str, Any] = {"fallback_random": True}  # drawn from PyTorch's state, as without a graph

HOOKS = "saved tensor hooks"  # in torch's message when it cannot differentiate a function that uses them


def isolate_option() -> dict[str, Any]:
    """The option of ``torch.compile``, where it has one, that counts the graphs of each model by itself."""
    name = "isolate_recompiles"
    return {name: True} if name in inspect.signature(torch.compile).parameters else {}


class CompiledTrainStep:
    """The training steps of a model on one device, but for those that no graph is made of.

    These are the first step of all, which gives the optimizer its states, and an epoch's last batch if it
    is of another size than the loader's. Whatever happens is a function of the optimizer's state and the
    batch, so that a resumed training goes the same way. A parameter that takes part in some batches alone
    counts as having a gradient of zero in others.

    Args:
        trainer: with a model, an optimizer and loaders.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self._model = trainer, trainer.lightning_module
        self._optimizer = trainer.optimizers[0]
        self._rule: Any = functional_optimizers.for_optimizer(self._optimizer)
        self._device = trainer.strategy.root_device
        options = EAGER_RANDOM | cuda_graphs.compile_options(self._device)
        self._graph = torch.compile(
            self._steps, fullgraph=True, dynamic=False, options=options, **isolate_option()
        )
        self._module = StepModule(self._model)
        self._mixed = isinstance(trainer.precision_plugin, MixedPrecision)
        self._hooks = graph_state.count_hooks(self._model)
        self._trained: GraphState | None = None
        self._rates: list[list[Tensor]] = []

    def begin_epoch(self) -> None:
        """Looks anew at what may stand against a graph, and at the size of batches. Raises as ``prepare``."""
        if reason := graph_state.why_not(self.trainer, self._rule):
            raise NotCompilableError(reason)
        if graph_state.count_hooks(self._model) != self._hooks:
            raise NotCompilableError("hooks of modules that were not there at first")
        size = getattr(self.trainer.train_dataloader, "batch_size", None)
        self._size = size if isinstance(size, int) else None
        self._trained = None

    def prepare(self) -> bool:
        """Whether steps can be made; not before the first step of all. Raises NotCompilableError."""
        if self._trained is None or self._trained.signature != graph_state.signature(self._optimizer):
            self._trained, self._rates = graph_state.collect_state(self.trainer, self._module, self._rule), []
        return self._trained is not None

    def make(self, batches: list[Any], rates: list[list[float]]) -> list[Tensor] | None:
        """Makes the steps of some batches; the loss before each, of shape ``()``.

        Returns None where they are left to the caller.

        Args:
            batches: where the model is.
            rates: of each step, each group's.

        Raises:
            NotCompilableError, and torch.compile's errors: no graph can be made; no tensor has been changed.
        """
        if not all(map(self._fast, batches)) or not self.prepare() or self._trained is None:
            return None
        tensors, options = self._rates_of(rates), self._options()
        cuda_graphs.mark_step_begin(self._device)
        try:
            found: list[Any] = self._graph(
                self._trained.groups, self._trained.buffers, options, tensors, batches
            )
        except (RuntimeError, IndexError) as error:
            if HOOKS in str(error):
                raise NotCompilableError("checkpointed activations") from error
            if not isinstance(error, TorchDynamoException):
                self._explain(batches)
            raise
        for values, batch in zip(found, batches, strict=True):
            self._model.log_batch(values, batch)
        return [values["loss"].clone() for values in found]  # as a graph writes to the same place again

    def _fast(self, batch: Any) -> bool:
        """Whether a batch is as large as the loader says; raises NotCompilableError if many are not."""
        try:
            size = batch_size(batch)
        except ValueError:  # nothing that can be seen: then each kind has a graph of its own
            return True
        if self._size is None or size == self._size:
            return True
        if not self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            raise NotCompilableError(f"batches of {size} rows where the loader says {self._size}")
        return False

    @torch.no_grad()
    def _explain(self, batches: list[Any]) -> None:
        """Raises what the model's own step raises, in its words."""
        for batch in batches:
            explain_errors(self._model.shared_step, batch)

    def _rates_of(self, rates: list[list[float]]) -> list[list[Tensor]]:
        """The rates as tensors that stay where they are."""
        while len(self._rates) < len(rates):
            self._rates.append([torch.zeros((), device=self._device) for _ in rates[0]])
            cuda_graphs.mark_static(self._rates[-1])
        tensors = self._rates[: len(rates)]
        for kept, given in zip(tensors, rates, strict=True):
            for tensor, rate in zip(kept, given, strict=True):
                tensor.fill_(rate)
        return tensors

    def _options(self) -> list[dict[str, Any]]:
        """Each group's options but for the rate, which is a tensor: another value makes another graph."""
        names = [name for name in self._optimizer.defaults if name != "lr"]
        return [{name: group[name] for name in names} for group in self._optimizer.param_groups]

    def _steps(
        self,
        groups: list[Group],
        buffers: dict[str, Tensor],
        options: list[dict[str, Any]],
        rates: list[list[Tensor]],
        batches: list[Any],
    ) -> list[Any]:
        """What is compiled: changes parameters, states and buffers; what ``shared_step`` returns of each."""
        found = []
        for batch, of_groups in zip(batches, rates, strict=True):
            grads, values = self._grads_and_values(groups, buffers, batch)
            start = 0
            for (parameters, states), rate, chosen in zip(groups, of_groups, options, strict=True):
                end = start + len(parameters)
                self._rule.update(parameters, grads[start:end], states, rate, chosen)
                start = end
            found.append(values)
        return found

    def _grads_and_values(
        self, groups: list[Group], buffers: dict[str, Tensor], batch: Any
    ) -> tuple[list[Tensor], Any]:
        """Gradients, and values that do not change when parameters do; buffers are renewed."""
        parameters = [parameter for of_group, _ in groups for parameter in of_group]
        names = self._trained.names if self._trained else []
        constants: list[Any] = []

        def loss_and_values(tensors: list[Tensor], before: dict[str, Tensor]) -> tuple[Tensor, Any]:
            used = before | dict(zip(names, tensors, strict=True))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                values = functional_call(self._module, used, (batch,))
            leaves, structure = tree_flatten(values)
            constants.extend([structure, [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]])
            renewed = {name: used[name] for name in before if used[name] is not before[name]}
            return values["loss"], ([leaf.clone() for leaf in leaves if isinstance(leaf, Tensor)], renewed)

        grads, (_, (found, renewed)) = grad_and_value(loss_and_values, has_aux=True)(parameters, buffers)
        for name, value in renewed.items():
            buffers[name].copy_(value)
        (structure, leaves), tensors = constants, iter(found)
        return grads, tree_unflatten([next(tensors) if leaf is None else leaf for leaf in leaves], structure)
