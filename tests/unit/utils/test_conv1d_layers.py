"""The layers calculate what torch's Conv1d does, and start as Keras's."""

import math

import pytest
import torch
from torch import nn

from lightmodels.utils.conv1d_layers import Conv1dAsConv2d, ToChannelsFirst2d, initialize_like_keras


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"padding": 2},
        {"padding": "same"},
        {"stride": 3, "padding": 1},
        {"dilation": 2},
        {"groups": 2},
    ],
)
def test_a_convolution_is_that_of_conv1d(options):
    torch.manual_seed(0)
    ours, torchs = Conv1dAsConv2d(4, 6, 5, **options), nn.Conv1d(4, 6, 5, **options)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 20, 4)  # (B, length, channels)
    found = ours(ToChannelsFirst2d()(x))
    torch.testing.assert_close(found.squeeze(2), torchs(x.transpose(1, 2)))


def test_the_layout_is_channels_last_without_a_copy():
    x = torch.randn(3, 20, 4)
    found = ToChannelsFirst2d()(x)
    assert (found.shape, found.data_ptr()) == ((3, 4, 1, 20), x.data_ptr())
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_layers_start_as_those_of_keras():
    net = nn.Sequential(
        nn.Embedding(1_000, 7), nn.Linear(40, 60), Conv1dAsConv2d(30, 30, 3, groups=30, bias=False), nn.Conv1d(8, 16, 5)
    )
    net.apply(initialize_like_keras)
    # Keras's Glorot-uniform limits: a depthwise kernel (3, 30, 1) has 3 * 30 inputs and 3 * 1 outputs.
    limits = [0.05, math.sqrt(6 / (40 + 60)), math.sqrt(6 / (3 * 30 + 3)), math.sqrt(6 / (5 * 8 + 5 * 16))]
    for layer, limit in zip(net, limits, strict=True):
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert getattr(layer, "bias", None) is None or not layer.bias.any()
