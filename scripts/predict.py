"""python scripts/predict.py --ckpt FILE INPUT …"""

from lightmodels.cli.main import program

if __name__ == "__main__":
    program("predict")
