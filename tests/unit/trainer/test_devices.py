"""The table of what ``gpus`` and ``tpu_cores`` mean."""

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
def test_choices(gpus, tpu_cores, expected):
    assert resolve_devices(gpus, tpu_cores, available_gpus=4, available_tpu_cores=8) == expected


@pytest.mark.parametrize(
    ("gpus", "tpu_cores", "message"),
    [
        ([], None, "^gpus must be a number"),
        (-2, None, "^gpus must be a number"),
        (True, None, "^gpus must be a number"),
        (False, None, "^gpus must be a number"),
        (1.5, None, "^gpus must be a number"),
        (0.0, None, "^gpus must be a number"),
        ("two", None, "^gpus must be a number"),
        ("", None, "^gpus must be a number"),
        ("0,0", None, "^gpus must be a number"),
        ([0, -1], None, "^gpus must be a number"),
        ([0, True], None, "^gpus must be a number"),
        (5, None, "^gpus=5 requested, but only 4 GPUs are available$"),
        ([0, 4], None, r"^gpus=\[0, 4\] requested, but only 4"),
        (2, 1, "^gpus cannot be combined with tpu_cores"),
        (0, 1, "^gpus cannot be combined with tpu_cores"),
        (None, 9, "^tpu_cores=9 requested, but only 8 TPU cores are available$"),
        (None, 0, "^tpu_cores must be a number"),
    ],
)
def test_wrong_choices(gpus, tpu_cores, message):
    with pytest.raises(ValueError, match=message):
        resolve_devices(gpus, tpu_cores, available_gpus=4, available_tpu_cores=8)


@pytest.mark.parametrize("gpus", [1, -1, [0]])
def test_no_gpu_here(gpus):
    with pytest.raises(ValueError, match="requested, but no GPU is available"):
        resolve_devices(gpus, None, available_gpus=0, available_tpu_cores=0)
