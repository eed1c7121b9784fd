"""Runs a program up to its first optimizer step: python -m benchmarks.first_step MODULE ARGUMENTS"""

import os
import runpy
import sys

from torch.optim.optimizer import register_optimizer_step_post_hook

if __name__ == "__main__":
    register_optimizer_step_post_hook(lambda *_: os._exit(0))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit("no optimizer step was made")
