"""python scripts/evaluate.py --ckpt FILE"""

from lightmodels.cli.main import program

if __name__ == "__main__":
    program("evaluate")
