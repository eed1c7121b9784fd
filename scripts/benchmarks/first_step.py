"""Runs a program up to its first optimizer step: python -m benchmarks.first_step MODULE ARGUMENTS"""

import importlib
import os
import runpy
import sys

if __name__ == "__main__":
    del sys.argv[0]
    importlib.import_module(sys.argv[0])  # which imports PyTorch, in its own way
    del sys.modules[sys.argv[0]]
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(lambda *_: os._exit(0))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit("no optimizer step was made")
