"""WholeStep: forward, backward and the optimizer's update as one graph that torch compiles."""

import inspect
from itertools import chain
from typing import Any

import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import optimizer as hooked
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchmetrics import Metric

from lightmodels import gpu, update_rules
from lightmodels.batches import batch_size

SAME_RANDOM: dict[str, Any] = {"fallback_random": True}  # drawn from PyTorch's state, as without a graph
Group = tuple[list[Tensor], dict[str, list[Tensor]]]  # parameters and their states


class NotOneGraphError(Exception):
    """What stands against one graph of a whole step."""


def own_graphs() -> dict[str, Any]:
    """The option of ``torch.compile``, where it has one, that counts the graphs of each model by itself."""
    name = "isolate_recompiles"
    return {name: True} if name in inspect.signature(torch.compile).parameters else {}


class _Module(nn.Module):
    """A model whose ``forward`` is its ``shared_step``, for ``functional_call``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        return self.model.shared_step(batch)


class WholeStep:
    """The training steps of a model on one device, but for those that no graph is made of.

    These are the first step of all, which gives the optimizer its states, and batches of another size
    than the loader's. Whatever happens is a function of the optimizer's state and the batch, so that a
    resumed training goes the same way. A parameter that takes part in some batches alone counts as having
    a gradient of zero in others.

    Args:
        trainer: with a model, an optimizer and loaders.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self._model = trainer, trainer.lightning_module
        self._optimizer = trainer.optimizers[0]
        self._rule: Any = update_rules.of(self._optimizer)
        self._device = trainer.strategy.root_device
        options = SAME_RANDOM | gpu.graph_options(self._device)
        self._graph = torch.compile(
            self._steps, fullgraph=True, dynamic=False, options=options, **own_graphs()
        )
        self._module = _Module(self._model)
        self._mixed = isinstance(trainer.precision_plugin, MixedPrecision)
        self._groups: list[Group] | None = None
        self._names: list[str] = []
        self._rates: list[list[Tensor]] = []

    def obstacle(self) -> str | None:
        """What stands against one graph, as far as it can be told without tracing it."""
        optimizer = self._optimizer
        if self._rule is None:
            return f"{type(optimizer).__name__} with these options"
        if any(isinstance(module, Metric) for module in self._model.modules()):
            return "torchmetrics objects, which keep what a step gives them"
        if self.trainer.gradient_clip_val:
            return "gradient_clip_val"
        hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
        all_hooks = (*hooks, hooked._global_optimizer_pre_hooks, hooked._global_optimizer_post_hooks)
        return "hooks of the optimizer" if any(all_hooks) else None

    def begin_epoch(self) -> None:
        """Looks anew for what is trained: tensors may have been replaced, or frozen, since."""
        self._groups, self._rates = None, []
        size = getattr(self.trainer.train_dataloader, "batch_size", None)
        self._size = size if isinstance(size, int) else None

    def is_ready(self) -> bool:
        """Whether steps can be made; not before the first step of all. Raises NotOneGraphError."""
        if self._groups is None:
            self._groups = self._gather()
        return self._groups is not None

    def make(self, batches: list[Any], rates: list[list[float]] | None) -> list[Tensor] | None:
        """Makes the steps of some batches; the loss before each, of shape ``()``.

        Returns None where they are left to the caller.

        Raises:
            NotOneGraphError, and torch.compile's errors: no graph can be made; nothing has been changed.
        """
        if len(batches) == 1 and self._size is not None and batch_size(batches[0]) != self._size:
            return None
        if not self.is_ready() or self._groups is None:
            return None
        groups = self._optimizer.param_groups
        tensors = self._rates_of(rates or [[group["lr"] for group in groups]])
        gpu.begin_graph(self._device)
        found: list[Any] = self._graph(self._groups, self._buffers, self._options(), tensors, batches)
        for values, batch in zip(found, batches, strict=True):
            self._model.record(values, batch)
        return [values["loss"].clone() for values in found]  # as a graph writes to the same place again

    def _rates_of(self, rates: list[list[float]]) -> list[list[Tensor]]:
        """The rates as tensors that stay where they are."""
        while len(self._rates) < len(rates):
            self._rates.append([torch.zeros((), device=self._device) for _ in rates[0]])
            gpu.stay(self._rates[-1])
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
        trained = [parameter for parameters, _ in groups for parameter in parameters]
        constants: list[Any] = []

        def loss_and_values(tensors: list[Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
            replaced = buffers | dict(zip(self._names, tensors, strict=True))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                values = functional_call(self._module, replaced, (batch,))
            leaves, structure = tree_flatten(values)
            constants.extend([structure, [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]])
            return values["loss"], [leaf for leaf in leaves if isinstance(leaf, Tensor)]

        grads, (_, found) = grad_and_value(loss_and_values, has_aux=True)(trained, buffers)
        (structure, leaves), tensors = constants, iter(found)
        return grads, tree_unflatten([next(tensors) if leaf is None else leaf for leaf in leaves], structure)

    def _gather(self) -> list[Group] | None:
        """Each group's tensors; None before the first step of all.

        Raises:
            NotOneGraphError: parameters have taken no part in the steps so far, or are trained only now.
        """
        named = {parameter: name for name, parameter in self._module.named_parameters()}
        groups: list[Group] = []
        state, self._names = self._optimizer.state, []
        for group in self._optimizer.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.requires_grad]
            names = self._rule.states(group)
            lacking = [p for p in trained if any(state.get(p, {}).get(name) is None for name in names)]
            if self.trainer.global_step == 0 or (lacking and not state):
                return None
            if lacking:
                name = named[lacking[0]].removeprefix("model.")
                raise NotOneGraphError(f"parameters without a gradient, such as {name}")
            states = {name: [state[p][name] for p in trained] for name in names}
            tensors = [parameter.detach() for parameter in trained]
            gpu.stay([*tensors, *chain.from_iterable(states.values())])
            groups.append((tensors, states))
            self._names += [named[parameter] for parameter in trained]
        self._buffers = dict(self._module.named_buffers())
        gpu.stay(list(self._buffers.values()))
        self._optimizer.zero_grad()  # of the last step without a graph; those with one leave none
        return groups
