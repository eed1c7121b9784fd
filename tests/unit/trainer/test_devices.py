"""``gpus`` and ``tpu_cores`` as Lightning's ``accelerator`` and ``devices``."""

import pytest

from lightmodels.trainer.devices import resolve_devices


@pytest.mark.parametrize(
    ("gpus", "tpu_cores", "expected"),
    [
        (None, None, ("auto", 1)),
        (0, None, ("cpu", 1)),
        ("0", None, ("cpu", 1)),
        (1, None, ("gpu", 1)),
        (2, None, ("gpu", 2)),
        ("2", None, ("gpu", 2)),
        (-1, None, ("gpu", 4)),
        ("-1", None, ("gpu", 4)),
        ("0,1", None, ("gpu", [0, 1])),
        ("3,", None, ("gpu", [3])),
        ([0, 1], None, ("gpu", [0, 1])),
        ((2,), None, ("gpu", [2])),
        (range(2), None, ("gpu", [0, 1])),
        (None, 2, ("tpu", 2)),
        (None, "1,", ("tpu", [1])),
        (None, -1, ("tpu", 8)),
    ],
)
def test_valid_choices(gpus, tpu_cores, expected):
    assert resolve_devices(gpus, tpu_cores, available_gpus=4, available_tpu_cores=8) == expected


@pytest.mark.parametrize("gpus", [[], -2, True, False, 1.5, 0.0, "two", "", ",", "0,0", [0, -1], [0, True]], ids=repr)
def test_nonsense_is_refused(gpus):
    with pytest.raises(ValueError, match=r"^gpus must be a number, .*; 4 GPUs are available$"):
        resolve_devices(gpus, None, available_gpus=4, available_tpu_cores=8)


@pytest.mark.parametrize(
    ("gpus", "tpu_cores", "message"),
    [
        (5, None, "^gpus=5 requested, but only 4 GPUs are available$"),
        ([0, 4], None, r"^gpus=\[0, 4\] requested, but only 4"),
        (2, 1, "^gpus cannot be combined with tpu_cores"),
        (0, 1, "^gpus cannot be combined with tpu_cores"),
        (None, 2, "^tpu_cores=2 requested, but only 1 TPU core is available$"),
        (None, 0, "^tpu_cores must be a number"),
    ],
)
def test_unavailable_devices_are_refused(gpus, tpu_cores, message):
    with pytest.raises(ValueError, match=message):
        resolve_devices(gpus, tpu_cores, available_gpus=4, available_tpu_cores=1)


@pytest.mark.parametrize("gpus", [1, -1, [0]])
def test_no_gpu_is_available(gpus):
    with pytest.raises(ValueError, match="requested, but no GPU is available"):
        resolve_devices(gpus, None, available_gpus=0, available_tpu_cores=0)
