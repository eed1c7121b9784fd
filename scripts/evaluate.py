"""python scripts/evaluate.py --ckpt FILE"""

from lightmodels.cli.evaluate import main
from lightmodels.cli.exit_codes import run

if __name__ == "__main__":
    run(main)
