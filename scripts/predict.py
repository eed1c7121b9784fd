"""python scripts/predict.py --ckpt FILE INPUT …"""

from lightmodels.cli.exit_codes import run
from lightmodels.cli.predict import main

if __name__ == "__main__":
    run(main)
