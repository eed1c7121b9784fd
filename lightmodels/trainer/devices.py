"""What ``gpus`` and ``tpu_cores`` mean: a pure mapping to Lightning's ``(accelerator, devices)``."""

from collections.abc import Sequence

DeviceChoice = int | str | Sequence[int] | None
Devices = int | list[int]


def resolve_devices(
    gpus: DeviceChoice, tpu_cores: DeviceChoice, present_gpus: int, present_tpu_cores: int
) -> tuple[str, Devices]:
    """Maps the two options to Lightning's ``accelerator`` and ``devices``.

    ``None`` for both is the best accelerator here, one device. Otherwise a count (``2`` or ``"2"``),
    ``-1`` for all, or the devices themselves (``[0, 1]`` or ``"0,1"``; ``"1,"`` is the one with
    number 1). ``gpus=0`` is the CPU.

    Args:
        gpus: GPUs to use.
        tpu_cores: TPU cores to use.
        present_gpus: number of GPUs in this machine.
        present_tpu_cores: number of TPU cores in this machine.

    Raises:
        ValueError: both options at once, more than there are, or a value of another form; the
            message starts with the option's name.
    """
    if gpus is not None and tpu_cores is not None:
        raise ValueError("gpus cannot be given together with tpu_cores: choose one of them")
    if tpu_cores is not None:
        return "tpu", _choose("tpu_cores", "TPU core", tpu_cores, present_tpu_cores)
    if gpus is None:
        return "auto", 1
    if _is_zero(gpus):
        return "cpu", 1
    return "gpu", _choose("gpus", "GPU", gpus, present_gpus)


def _is_zero(choice: DeviceChoice) -> bool:
    return (type(choice) is int and choice == 0) or choice == "0"


def _choose(option: str, noun: str, choice: DeviceChoice, present: int) -> Devices:
    here = f"there {'is' if present == 1 else 'are'} {present} {noun}{'' if present == 1 else 's'} here"
    devices = _parse(choice)
    if devices is None:
        raise ValueError(f"{option} must be a count, -1 for all, or numbers like 0,1, got {choice!r}; {here}")
    wanted = max(devices) + 1 if isinstance(devices, list) else max(devices, 1)
    if wanted > present:
        raise ValueError(f"{option}={choice} asks for more than is present: {here}")
    return present if devices == -1 else devices


def _parse(choice: DeviceChoice) -> Devices | None:
    """A positive count, -1, a list of distinct device numbers, or None for nonsense."""
    if isinstance(choice, str):
        parts = choice.split(",")
        try:
            numbers = [int(part) for part in parts if part.strip()]
        except ValueError:
            return None
        return _parse(numbers if len(parts) > 1 else next(iter(numbers), None))
    if isinstance(choice, int) and not isinstance(choice, bool):
        return choice if choice == -1 or choice > 0 else None
    if isinstance(choice, Sequence) and not isinstance(choice, str):
        return _device_numbers(list(choice))
    return None


def _device_numbers(numbers: list[int]) -> list[int] | None:
    valid = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    return numbers if numbers and valid and len(set(numbers)) == len(numbers) else None
