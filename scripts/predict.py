"""python scripts/predict.py --ckpt FILE INPUT …"""

from lightmodels.cli.main import run_command

if __name__ == "__main__":
    run_command("predict")
