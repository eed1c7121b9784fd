"""Fails unless a task's Keras model gives the outputs of its net: python same_keras_net.py mnist|reuters"""

import sys

import torch
from benchmarks.keras_peer import make_model, to_arrays
from benchmarks.plain import PlainTask, tutorial_net

from lightmodels import MNISTCNN, ReutersConv1D

model, x, mask_probability = {
    "mnist": (MNISTCNN(), torch.rand(3, 1, 28, 28), 0.0),
    "reuters": (ReutersConv1D(num_words=50, length=40), torch.randint(50, (3, 40)), 0.5),
}[sys.argv[1]]
net, rows = tutorial_net(model.net, mask_probability).eval(), (x, torch.zeros(3))
task = PlainTask(sys.argv[1], net, rows, rows, 3, 1, [], None, [], 0.0, seed=1, device="cpu")
outputs = torch.tensor(make_model(task)(to_arrays(task, rows)[0]).tolist())
torch.testing.assert_close(outputs, net(x), rtol=1e-4, atol=1e-5)
