"""python scripts/evaluate.py --ckpt FILE"""

from lightmodels.cli.main import run_command

if __name__ == "__main__":
    run_command("evaluate")
