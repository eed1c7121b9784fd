"""Fails if a model of Keras has other outputs than its net: python same_keras_net.py mnist|reuters"""

import sys

import torch
from benchmarks.plain import Plain, ordinary

from lightmodels import MNISTCNN, ReutersConv1D


def main(task: str) -> None:
    from benchmarks import peer_keras  # noqa: F401 (before Keras: it asks for JAX)
    from benchmarks.keras_net import arrays, model_of

    if task == "mnist":
        model, x, masking = MNISTCNN(), torch.rand(3, 1, 28, 28), 0.0
    else:
        model, x, masking = ReutersConv1D(num_words=50, length=40), torch.randint(50, (3, 40)), 0.5
    net, rows = ordinary(model.eval().net), (x, torch.zeros(3))
    made = model_of(Plain(task, net, rows, rows, batch_size=3, seed=1, masking=masking))
    outputs = torch.tensor(made(arrays(rows)[0]).tolist())
    torch.testing.assert_close(outputs, net(x), rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main(sys.argv[1])
