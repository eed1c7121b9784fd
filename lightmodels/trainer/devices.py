"""Maps ``gpus`` and ``tpu_cores`` to Lightning's ``accelerator`` and ``devices``."""

from collections.abc import Sequence

DeviceChoice = int | str | Sequence[int] | None
Devices = int | list[int]


def resolve_devices(
    gpus: DeviceChoice, tpu_cores: DeviceChoice, available_gpus: int, available_tpu_cores: int
) -> tuple[str, Devices]:
    """Maps the two options to Lightning's ``accelerator`` and ``devices``.

    Each is a number of devices (``2`` or ``"2"``), ``-1`` for all, or indices (``[0, 1]`` or ``"0,1"``; ``"1,"`` is the
    device with index 1); ``gpus=0`` is the CPU. With neither, one device of the best kind is used.

    Raises:
        ValueError: both options, devices that are not available, or nonsense; starts with the option's name.
    """
    if gpus is not None and tpu_cores is not None:
        raise ValueError("gpus cannot be combined with tpu_cores")
    if tpu_cores is not None:
        return "tpu", _choose("tpu_cores", "TPU core", tpu_cores, available_tpu_cores)
    if gpus is None:
        return "auto", 1
    if str(gpus) == "0":
        return "cpu", 1
    return "gpu", _choose("gpus", "GPU", gpus, available_gpus)


def _choose(option: str, noun: str, choice: DeviceChoice, available: int) -> Devices:
    here = f"{available or 'no'} {noun}{'s are' if available > 1 else ' is'} available"
    devices = _parse(choice)
    if devices is None:
        raise ValueError(f"{option} must be a number, -1 for all, or indices like 0,1, got {choice!r}; {here}")
    needed = max(devices) + 1 if isinstance(devices, list) else max(devices, 1)
    if needed > available:
        raise ValueError(f"{option}={choice} requested, but {'only ' if available else ''}{here}")
    return available if devices == -1 else devices


def _parse(choice: DeviceChoice) -> Devices | None:
    """A positive number, -1, or a list of distinct indices; None for anything else."""
    if isinstance(choice, str):
        try:
            numbers = [int(part) for part in choice.split(",") if part.strip()]
        except ValueError:
            return None
        choice = numbers if "," in choice or not numbers else numbers[0]
    if isinstance(choice, Sequence):
        valid = all(type(index) is int and index >= 0 for index in choice)
        return list(map(int, choice)) if choice and valid and len(set(choice)) == len(choice) else None
    return choice if type(choice) is int and (choice == -1 or choice > 0) else None
