"""python scripts/train.py --task mnist --gpus 2"""

from lightmodels.cli.exit_codes import run
from lightmodels.cli.train import main

if __name__ == "__main__":
    run(main)
