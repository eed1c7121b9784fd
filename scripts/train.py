"""python scripts/train.py --task mnist --gpus 2"""

from lightmodels.cli.main import run_command

if __name__ == "__main__":
    run_command("train")
