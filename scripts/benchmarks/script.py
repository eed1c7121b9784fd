"""A plain script's whole job: python -m benchmarks.script MODULE TENSORS EPOCHS

It imports only what its loop needs, reads tensors that are ready-made, trains and saves the weights.
"""

import importlib
import sys
import tempfile
from pathlib import Path

import torch

if __name__ == "__main__":
    module, tensors, epochs = sys.argv[1:]
    plain = torch.load(tensors, weights_only=False)  # of our own making, a moment ago
    importlib.import_module(module).train(plain, int(epochs))
    with tempfile.TemporaryDirectory() as directory:
        torch.save(plain.net.state_dict(), Path(directory, "weights.pt"))
