"""Rebuilds models from their checkpoints; a file never causes code to be imported or run."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.checkpointing import weights
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.core.light_model import LightModel
from lightmodels.core.net_layers import build_layers

FROM_NET = ("loss", "metrics", "optimizer", "scheduler")
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def load(path: str | Path, model_class: type[LightModel] | None = None, **init: Any) -> LightModel:
    """Loads the model of a checkpoint: class, hyper-parameters, weights, ``history`` and ``data_info``.

    The model is on the CPU and in evaluation mode; call its ``train()`` to train it further. A net that is an
    ``nn.Sequential`` of torch's own layers is rebuilt. A model of ``from_net`` can predict; to evaluate or train it,
    pass ``loss``, and ``metrics``, ``optimizer`` and ``scheduler`` as there.

    Args:
        path: a checkpoint file of a ``LightModel``.
        model_class: its class; by default the imported class with the saved name.
        init: constructor arguments that were not saved, such as ``net``, or that override saved ones.

    Raises:
        CheckpointError: the file cannot be read, was not saved by a ``LightModel``, or does not fit the
            class; no imported class, or more than one, has the saved name.
    """
    return rebuild(checkpoint_files.load_checkpoint(path), path, model_class, **init)


def rebuild(
    checkpoint: Mapping[str, Any], path: str | Path, model_class: type[LightModel] | None = None, **init: Any
) -> LightModel:
    """As ``load``, for a checkpoint that has been read; ``path`` appears in messages."""
    if not isinstance(checkpoint.get("model_class"), str):
        raise CheckpointError(f"{path}: not a checkpoint of a LightModel")
    found = model_class or _find(checkpoint["model_class"], path)
    spec = {}
    if "loss" in init and "loss" not in inspect.signature(found).parameters:  # a model of from_net
        spec = {name: init.pop(name) for name in FROM_NET if name in init}
    model = _construct(found, checkpoint, path, init)
    if spec:
        model.set_training(**spec)
    saved = checkpoint.get("state_dict")
    if model._net_spec is None and isinstance(saved, Mapping):  # a file cannot hold a loss function
        kept = {name: value for name, value in saved.items() if not str(name).startswith("_net_spec.")}
        checkpoint = {**checkpoint, "state_dict": kept}
    weights.check_compatible(model, checkpoint, path)
    try:
        model.restore_history(checkpoint)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its history or data_info is damaged ({error!r})") from error
    model.on_load_checkpoint(dict(checkpoint))
    model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    return model.eval()


def _find(name: str, path: str | Path) -> type[LightModel]:
    """The imported class of that name, or one that the package itself offers."""
    if name in sys.modules["lightmodels"].__all__:
        getattr(sys.modules["lightmodels"], name)  # imports it
    # Running a notebook cell again leaves two classes of the same qualified name: the newer one is meant.
    found = {(each.__module__, each.__qualname__): each for each in _known() if each.__name__ == name}
    if not found:
        raise CheckpointError(f"{path}: {name} is not an imported class: import it first, or pass model_class")
    if len(found) > 1:
        places = " and ".join(sorted(".".join(place) for place in found))
        raise CheckpointError(f"{path}: {name} may be {places}: pass model_class")
    return next(iter(found.values()))


def _known(parent: type[LightModel] = LightModel) -> Iterator[type[LightModel]]:
    yield parent
    for child in parent.__subclasses__():
        yield from _known(child)


def _construct(
    model_class: type[LightModel], checkpoint: Mapping[str, Any], path: str | Path, init: dict[str, Any]
) -> LightModel:
    name = model_class.__name__
    parameters = list(inspect.signature(model_class).parameters.values())
    arguments = _saved_arguments(checkpoint, parameters, path) | init
    # A class that wraps a net takes it as an argument; its default, None, is not what was saved.
    wraps = any(str(key).startswith("net.") for key in checkpoint.get("state_dict", ()))
    if wraps and "net" not in arguments and "net_layers" in checkpoint:
        arguments["net"] = _build_net(checkpoint, path)
    fixed = [each for each in parameters if each.kind not in VARIABLE]
    required = [each.name for each in fixed if each.default is each.empty or (wraps and each.name == "net")]
    if lacking := [key for key in required if key not in arguments]:
        call = ", ".join(f"{key}=…" for key in lacking)
        raise CheckpointError(f"{path}: {name} needs arguments that were not saved: load(path, {name}, {call})")
    try:
        # Loading a model during training must not change the random numbers that follow.
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return model_class(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its hyper-parameters do not fit {name} ({error})") from error


def _build_net(checkpoint: Mapping[str, Any], path: str | Path) -> torch.nn.Module:
    """The net of torch's own layers, if the checkpoint's weights fit it."""
    try:
        with torch.device("meta"):  # which takes no memory, whatever the file says
            names = {name: value.shape for name, value in build_layers(checkpoint["net_layers"]).state_dict().items()}
        saved = checkpoint["state_dict"]
        if any(saved[f"net.{name}"].shape != shape for name, shape in names.items()):
            raise ValueError("its weights have other shapes")
        return build_layers(checkpoint["net_layers"])
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: its net cannot be rebuilt ({error}); pass net=…") from error


def _saved_arguments(
    checkpoint: Mapping[str, Any], parameters: list[inspect.Parameter], path: str | Path
) -> dict[str, Any]:
    """The hyper-parameters that are arguments of the constructor."""
    saved = checkpoint.get("hyper_parameters", {})
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"{path}: its hyper-parameters are a {type(saved).__name__}")
    names = [each.name for each in parameters if each.kind not in VARIABLE]
    whole = checkpoint.get("hparams_name")  # of save_hyperparameters(one_dictionary)
    if whole in names:
        return {whole: dict(saved)}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return {key: value for key, value in saved.items() if takes_any or key in names}
