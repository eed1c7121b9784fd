"""Sequences of torch's own layers as plain data, from which they are rebuilt without code of anybody else's."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightmodels.checkpointing.plain_data import to_plain

Layers = list[
    list[Any]
]  # of each layer: its name, its class in torch.nn, its arguments or, of a Sequential, its layers


def describe_layers(net: nn.Module | None) -> Layers | None:
    """The layers of an ``nn.Sequential``; None for other nets, and for layers that this would not rebuild alike."""
    if type(net) is not nn.Sequential:
        return None
    try:
        layers = _describe(net)
        with torch.device("meta"):
            rebuilt = build_layers(layers)
    except (TypeError, ValueError, RuntimeError):
        return None
    alike = repr(rebuilt) == repr(net) and _shapes(rebuilt.state_dict()) == _shapes(net.state_dict())
    return layers if alike else None


def build_layers(layers: Any) -> nn.Sequential:
    """The net of ``describe_layers``; raises ValueError for anything but arguments of torch's layers."""
    net = nn.Sequential()
    for entry in layers:
        name, kind, arguments = entry
        layer_class: Any = getattr(nn, kind, None)
        if not _is_torchs(layer_class):
            raise ValueError(f"{kind} is not a layer of torch.nn")
        is_sequence = layer_class is nn.Sequential
        net.add_module(name, build_layers(arguments) if is_sequence else layer_class(**arguments))
    return net


def _describe(net: nn.Sequential) -> Layers:
    layers: Layers = []
    for name, layer in net.named_children():
        if not _is_torchs(type(layer)):
            raise TypeError(f"{type(layer).__name__} is not a layer of torch.nn")
        inner = _describe(layer) if isinstance(layer, nn.Sequential) else _arguments(layer)
        layers.append([name, type(layer).__name__, inner])
    return layers


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """The arguments of a layer's constructor, which torch keeps in attributes of the same names."""
    arguments = {}
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if hasattr(layer, name):
            value = getattr(layer, name)
            is_flag = isinstance(value, Tensor) or (value is None and isinstance(parameter.default, bool))
            arguments[name] = value is not None if is_flag else to_plain(value, name)
        elif parameter.default is parameter.empty:
            raise TypeError(f"{type(layer).__name__} does not tell its argument {name}")
    return arguments


def _is_torchs(kind: Any) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, nn.Module)
        and kind is not nn.Module
        and kind.__module__.startswith("torch.nn.modules.")
        and getattr(nn, kind.__name__, None) is kind
    )


def _shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, "shape", None) for name, value in state.items()}
