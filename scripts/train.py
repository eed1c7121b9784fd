"""python scripts/train.py --task mnist --gpus 2"""

from lightmodels.cli.main import program

if __name__ == "__main__":
    program("train")
