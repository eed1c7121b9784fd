"""python scripts/export.py --ckpt FILE"""

from lightmodels.cli.exit_codes import run
from lightmodels.cli.export import main

if __name__ == "__main__":
    run(main)
